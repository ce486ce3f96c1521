#!/bin/sh
# /cgi-bin/index.cgi of the demonstration application: who answers, and the request as it arrived.
# busybox httpd runs it for every path that ends in a slash; the headers come as HTTP_… variables.
printf 'Content-Type: text/plain\r\n\r\n'
echo "Hostname: $(hostname)"
echo "Peer: $REMOTE_ADDR"
echo "Request: $REQUEST_METHOD $REQUEST_URI"
env | grep '^HTTP_' | sort | while IFS='=' read -r name value; do
    # HTTP_X_FORWARDED_FOR was X-Forwarded-For
    echo "${name#HTTP_}" | awk -F_ -v value="$value" '{
        for (i = 1; i <= NF; i++) $i = substr($i, 1, 1) tolower(substr($i, 2))
        gsub(/ /, "-")
        print $0 ": " value
    }'
done
