#!/bin/bash
# Like the official image's: options go to redis-server, which runs as `redis`.
set -euo pipefail

case ${1:-} in
-* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis:redis '{}' +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi
# The official build has protected mode off unless a configuration file says otherwise; Debian's has
# it on, and would shut out everything but this container.
case " $* " in
*.conf\ * | *" --protected-mode "* | *" --version "* | *" -v "* | *" --help "*) ;;
" redis-server "*) set -- "$@" --protected-mode no ;;
esac
exec "$@"
