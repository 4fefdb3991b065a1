# The application of the matrix for the library `fcgi` of Ruby.
require 'fcgi'

def send_lines(out, keys)
  number = 0
  while !keys['count'] || number < keys['count'].to_i
    out.print 'x' * (keys['width'].to_i - 1) + "\n"
    out.flush
    sleep keys['lines'].to_f / 1000
    number += 1
  end
end

def answer(request)
  env, out = request.env, request.out
  keys = env['QUERY_STRING'].split('&').to_h { |pair| (pair + '=').split('=', 3).first(2) }
  request.err.print keys['stderr'] + "\n" if keys['stderr']
  out.print "Status: #{keys['status']}\r\n" if keys['status']
  out.print "Location: #{keys['location']}\r\n" if keys['location']
  out.print "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n" if keys['cookies']
  out.print "Content-Type: text/plain\r\n\r\n"
  return send_lines(out, keys) if keys['lines']
  return if %w[204 304].include?(keys['status'])
  %w[HTTP_COOKIE QUERY_STRING REQUEST_METHOD].each { |name| out.print "#{name}=#{env[name]}\n" }
  out.print "\n", request.in.read
end

FCGI.each_request do |request|
  begin
    answer(request)
  ensure
    request.finish
  end
end
