#!/bin/bash
# Like the official image's: POSTGRES_USER, POSTGRES_PASSWORD (or ..._FILE), POSTGRES_DB,
# POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD, PGDATA, /docker-entrypoint-initdb.d; the server
# itself runs as `postgres`.
set -euo pipefail

[ "${1:0:1}" = '-' ] && set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    # Only what is not postgres's yet: a chown would copy every file of a committed image.
    find "$PGDATA" /var/run/postgresql \! -user postgres -exec chown postgres:postgres '{}' +
    [ "$(stat -c %a "$PGDATA")" = 700 ] || chmod 700 "$PGDATA"
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

user=${POSTGRES_USER:-postgres}
password=${POSTGRES_PASSWORD:-}
[ -z "${POSTGRES_PASSWORD_FILE:-}" ] || password=$(<"$POSTGRES_PASSWORD_FILE")
method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    [ -n "$password" ] || [ "$method" = trust ] || {
        echo 'Error: POSTGRES_PASSWORD must not be empty' >&2
        exit 1
    }
    # Made beside its place: a first start that was interrupted begins again.
    rm -rf "$PGDATA/.first"
    # shellcheck disable=SC2086 # several arguments by design
    initdb --pgdata="$PGDATA/.first" --username="$user" --pwfile=<(printf '%s\n' "${password:-none}") \
        --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 \
        --locale-provider=builtin --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-} >/dev/null
    printf "listen_addresses = '*'\n" >>"$PGDATA/.first/postgresql.conf"
    printf 'host all all all %s\n' "$method" >>"$PGDATA/.first/pg_hba.conf"
    pg_ctl -s -w -D "$PGDATA/.first" -o "-c listen_addresses='' -c fsync=off" start >/dev/null
    database=${POSTGRES_DB:-$user}
    [ "$database" = postgres ] || psql -qXU "$user" -d postgres -v ON_ERROR_STOP=1 \
        -v name="$database" <<<'CREATE DATABASE :"name";'
    export PGUSER=$user PGDATABASE=$database
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
        *.sql) psql -qX -v ON_ERROR_STOP=1 -f "$script" ;;
        *.sql.gz) gunzip -c "$script" | psql -qX -v ON_ERROR_STOP=1 ;;
        *.sh) if [ -x "$script" ]; then "$script"; else . "$script"; fi ;;
        esac
    done
    unset PGUSER PGDATABASE
    pg_ctl -s -w -D "$PGDATA/.first" -m fast stop
    find "$PGDATA/.first" -mindepth 1 -maxdepth 1 \! -name PG_VERSION -exec mv -t "$PGDATA" '{}' +
    mv "$PGDATA/.first/PG_VERSION" "$PGDATA" # last: from here on it counts
    rmdir "$PGDATA/.first"
fi
exec "$@"
