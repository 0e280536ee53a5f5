#!/usr/bin/env bash
# pglogical 2.4.2 (Debian's postgresql-15-pglogical): a replication set lists columns by name. After RENAME COLUMN the column
# leaves the stream: no error, no warning, and the list still has the old name. Mended in the list itself, the sender goes on
# without the column, as it has read the list already; ANALYZE of the table makes it read it again. As root, on Debian 12.
set -euo pipefail
folder=$(mktemp -d)
cd "$folder"
apt-get download postgresql-15 postgresql-client-15 postgresql-15-pglogical=2.4.2-3 libpq5 > /dev/null 2>&1
for package in *.deb; do dpkg -x "$package" .; done
bin=$folder/usr/lib/postgresql/15/bin
export LD_LIBRARY_PATH=$folder/usr/lib/$(uname -m)-linux-gnu
chmod 755 "$folder"
mkdir -m 777 run
as() { setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; }
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

as "$bin/initdb" -D run/data -U postgres -A trust > /dev/null
settings="-k $folder/run -c listen_addresses= -c wal_level=logical -c shared_preload_libraries=pglogical"
# From 15.19 on.
if as "$bin/postgres" -D run/data -C output_plugin_libraries > /dev/null 2>&1; then
  settings="$settings -c output_plugin_libraries=pglogical_output"
fi
as "$bin/pg_ctl" -D run/data -w -l run/log -o "$settings" start > /dev/null

psql() { "$folder/usr/lib/postgresql/15/bin/psql" -X -q -h "$folder/run" -U postgres -At -v ON_ERROR_STOP=1 "$@"; }
psql > seen << 'SQL'
CREATE EXTENSION pglogical;
CREATE TABLE people (id integer PRIMARY KEY, codes text);
SELECT FROM pglogical.create_node('here', 'dbname=none');
SELECT FROM pglogical.replication_set_add_table('default', 'people', false, '{id,codes}');
SELECT FROM pg_create_logical_replication_slot('seen', 'pglogical_output');
INSERT INTO people VALUES (1, 'as before');
ALTER TABLE people RENAME codes TO mfa_codes;
INSERT INTO people VALUES (2, 'renamed');
UPDATE pglogical.replication_set_table SET set_att_list = array_replace(set_att_list, 'codes', 'mfa_codes');
INSERT INTO people VALUES (3, 'mended');
ANALYZE people;
INSERT INTO people VALUES (4, 'analyzed');
SELECT data::json ->> 'newtuple'
FROM pg_logical_slot_get_changes('seen', NULL, NULL, 'expected_encoding', 'UTF8', 'min_proto_version', '1',
  'max_proto_version', '1', 'startup_params_format', '1', 'proto_format', 'json', 'no_txinfo', 't',
  'pglogical.replication_set_names', 'default')
WHERE data LIKE '%"people"%';
SQL
cat > expected << 'END'
{"id":1,"codes":"as before"}
{"id":2}
{"id":3}
{"id":4,"mfa_codes":"analyzed"}
END
cat seen
diff expected seen
