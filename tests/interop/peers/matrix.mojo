# The application of the matrix for Mojolicious.
use Mojolicious::Lite;

sub send_line {
    my ($c, $left) = @_;
    return $c->finish if $left == 0;
    select undef, undef, undef, $c->param('lines') / 1000;
    my $line = 'x' x ($c->param('width') - 1) . "\n";
    $c->write($line => sub { send_line($c, $left - 1) });
}

any '/*any' => { any => '' } => sub {
    my $c = shift;
    my $status = $c->req->query_params->param('status') // 200;
    $c->res->code($status);
    $c->res->headers->content_type('text/plain');
    $c->res->headers->location($c->param('location')) if defined $c->param('location');
    if ($c->param('cookies')) {
        $c->res->headers->add('Set-Cookie' => 'a=1; Path=/');
        $c->res->headers->add('Set-Cookie' => 'b=2');
    }
    print STDERR $c->param('stderr'), "\n" if $c->param('stderr');
    return send_line($c, $c->param('count') // -1) if $c->param('lines');
    return $c->rendered($status) if $status == 204 || $status == 304;
    my %value = (
        HTTP_COOKIE => $c->req->headers->cookie // '',
        QUERY_STRING => $c->req->url->query->to_string,
        REQUEST_METHOD => $c->req->method,
    );
    my $names = join '', map { "$_=$value{$_}\n" } sort keys %value;
    $c->render(data => "$names\n" . $c->req->body, status => $status, format => 'txt');
};

app->max_request_size(0);
app->log->level('fatal');
app->start;
