#!/bin/bash
# Like the official image's: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS,
# PGDATA, /docker-entrypoint-initdb.d; the server itself runs as `postgres`.
set -euo pipefail

[ "${1:0:1}" = '-' ] && set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown -R postgres:postgres "$PGDATA" /var/run/postgresql
    chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

user=${POSTGRES_USER:-postgres}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -n "${POSTGRES_PASSWORD:-}" ] || {
        echo 'Error: POSTGRES_PASSWORD must not be empty' >&2
        exit 1
    }
    # shellcheck disable=SC2086 # several arguments by design
    initdb --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 \
        --locale-provider=builtin --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-} >/dev/null
    printf "listen_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
    printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
    pg_ctl -s -w -o "-c listen_addresses='' -c fsync=off" start >/dev/null
    database=${POSTGRES_DB:-$user}
    [ "$database" = postgres ] || psql -qXU "$user" -d postgres -v ON_ERROR_STOP=1 \
        -v name="$database" <<<'CREATE DATABASE :"name";'
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
        *.sql) psql -qXU "$user" -d "$database" -v ON_ERROR_STOP=1 -f "$script" ;;
        *.sh) . "$script" ;;
        esac
    done
    pg_ctl -s -w -m fast stop
fi
exec "$@"
