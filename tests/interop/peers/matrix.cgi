#!/bin/sh
# The CGI program of the matrix, for cgi-wrap and fcgiwrap.
status='' location='' cookies='' stderr='' lines='' count=-1 width=8
IFS='&'
for pair in $QUERY_STRING; do
    value=${pair#*=}
    case $pair in
    status=*) status=$value ;;
    location=*) location=$value ;;
    cookies=*) cookies=$value ;;
    stderr=*) stderr=$value ;;
    lines=*) lines=$value ;;
    count=*) count=$value ;;
    width=*) width=$value ;;
    esac
done
[ -z "$status" ] || printf 'Status: %s\r\n' "$status"
[ -z "$location" ] || printf 'Location: %s\r\n' "$location"
[ -z "$cookies" ] || printf 'Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n'
[ -z "$stderr" ] || echo "$stderr" >&2
printf 'Content-Type: text/plain\r\n\r\n'
if [ -n "$lines" ]; then
    while [ "$count" -ne 0 ]; do
        printf "%0$((width - 1))d\n" 0 || exit 1
        sleep "$(printf '0.%03d' "$lines")"
        count=$((count - 1))
    done
    exit
fi
case $status in 204 | 304) exit ;; esac
printf '%s=%s\n' HTTP_COOKIE "$HTTP_COOKIE" QUERY_STRING "$QUERY_STRING" \
    REQUEST_METHOD "$REQUEST_METHOD"
echo
[ "${CONTENT_LENGTH:-0}" -eq 0 ] || exec head -c "$CONTENT_LENGTH"
