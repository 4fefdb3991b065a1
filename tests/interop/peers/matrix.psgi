# The application of the matrix for Plack.
use strict;
use warnings;

sub send_lines {
    my ($writer, $key) = @_;
    for (my $number = 1; !$key->{count} || $number <= $key->{count}; $number++) {
        $writer->write('x' x ($key->{width} - 1) . "\n");
        select undef, undef, undef, $key->{lines} / 1000;
    }
    $writer->close;
}

sub {
    my $env = shift;
    my %key = map { my ($name, $value) = split /=/, $_, 2; ($name => $value // '') }
        split /&/, $env->{QUERY_STRING};
    my @head = ('Content-Type' => 'text/plain');
    push @head, Location => $key{location} if exists $key{location};
    push @head, 'Set-Cookie' => 'a=1; Path=/', 'Set-Cookie' => 'b=2' if exists $key{cookies};
    $env->{'psgi.errors'}->print("$key{stderr}\n") if exists $key{stderr};
    my $status = $key{status} // 200;
    return sub { send_lines(shift->([$status, \@head]), \%key) } if exists $key{lines};
    return [$status, \@head, []] if $status == 204 || $status == 304;
    my $names = join '', map { "$_=" . ($env->{$_} // '') . "\n" }
        qw(HTTP_COOKIE QUERY_STRING REQUEST_METHOD);
    my $body = '';
    1 while $env->{'psgi.input'}->read($body, 65536, length $body);
    return [$status, \@head, [$names, "\n", $body]];
};
