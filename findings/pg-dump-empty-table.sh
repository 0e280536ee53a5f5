#!/usr/bin/env bash
# PostgreSQL and pg_dump 15.20 (Debian's): a dump that begins while ALTER TABLE rewrites a table has that table without a row.
# The exit code is 0, and nothing is said. pg_dump takes its snapshot, and only then waits for the table's lock; what ALTER
# TABLE rewrites is all new rows, none of them for that snapshot. The manual has it of transactions ("not MVCC-safe"), not of
# pg_dump, whose backups are "consistent even if the database is being used concurrently". CLUSTER rewrites, too, and keeps
# what a snapshot sees. Instead: lock the tables in a session first, and have pg_dump use the snapshot that this one exports
# after that. (--lock-wait-timeout fails only if the wait is longer.) As root, on Debian 12.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
apt-get download postgresql-15 postgresql-client-15 libpq5 > /dev/null 2>&1
for package in *.deb; do dpkg -x "$package" .; done
bin=$folder/usr/lib/postgresql/15/bin
export LD_LIBRARY_PATH=$folder/usr/lib/$(uname -m)-linux-gnu
chmod 755 "$folder"
mkdir -m 777 run
as() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
as "$bin/initdb" -D run/data -U postgres -A trust > /dev/null
as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses=" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT
export PGHOST=$folder/run PGUSER=postgres PGOPTIONS='-c client_min_messages=warning'
psql() { "$bin/psql" -X -q -At -v ON_ERROR_STOP=1 "$@"; }

plain() { "$bin/pg_dump" -f dump postgres; }
locked() {
  psql <<SQL
BEGIN ISOLATION LEVEL REPEATABLE READ;
LOCK TABLE people IN ACCESS SHARE MODE;
SELECT pg_export_snapshot() AS snapshot \gset
\setenv SNAPSHOT :snapshot
\! "$bin/pg_dump" --snapshot="\$SNAPSHOT" -f dump postgres
SQL
}
during() {
  rm -f altered go code dump
  psql -c 'DROP TABLE IF EXISTS people; CREATE TABLE people (id integer PRIMARY KEY, visits integer)' \
    -c 'INSERT INTO people VALUES (1, 0), (2, 0), (3, 0)'
  psql -c BEGIN -c "$2" -c '\! touch altered; until [ -e go ]; do sleep 0.1; done' -c COMMIT &
  until [ -e altered ]; do sleep 0.1; done
  (code=0; "$1" || code=$?; echo $code > code) &
  until [ -e code ] || [ "$(psql -c 'SELECT count(*) FROM pg_locks WHERE NOT granted')" = 1 ]; do sleep 0.1; done
  touch go
  wait
  psql -c 'DROP DATABASE IF EXISTS restored' -c 'CREATE DATABASE restored'
  psql -d restored -f dump > /dev/null
  count='SELECT count(*) FROM people'
  echo "$1, $2: exit code $(cat code), $(psql -d restored -c "$count") of $(psql -c "$count") rows"
}
{
  during plain 'ALTER TABLE people ALTER visits TYPE bigint'
  during plain 'ALTER TABLE people ADD code uuid DEFAULT gen_random_uuid()'
  during plain "ALTER TABLE people ADD code text DEFAULT ''"
  during plain 'CLUSTER people USING people_pkey'
  during locked 'ALTER TABLE people ALTER visits TYPE bigint'
} > seen 2>&1
cat > expected <<'END'
plain, ALTER TABLE people ALTER visits TYPE bigint: exit code 0, 0 of 3 rows
plain, ALTER TABLE people ADD code uuid DEFAULT gen_random_uuid(): exit code 0, 0 of 3 rows
plain, ALTER TABLE people ADD code text DEFAULT '': exit code 0, 3 of 3 rows
plain, CLUSTER people USING people_pkey: exit code 0, 3 of 3 rows
locked, ALTER TABLE people ALTER visits TYPE bigint: exit code 0, 3 of 3 rows
END
cat seen
diff expected seen
