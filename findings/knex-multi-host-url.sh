#!/usr/bin/env bash
# knex 3.3.0, client "pg": a URL of two hosts with ports, as libpq documents it ("Specifying Multiple Hosts"),
# is no URL to Node's parser. node-postgres raises an error for it. Knex takes it for the name of a SQLite file, whatever
# client is configured: host, user and database of the URL are gone, and the connection goes to where PGHOST and
# PGDATABASE, or the defaults, point. There is neither an error nor a warning.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true }' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund knex@3.3.0 pg@8.23.1

cat > show.js <<'END'
const { knex } = require('knex');
const { Client } = require('pg');
const url = 'postgres://owner@db1.example.org:5432,db2.example.org:5433/ehr';
try {
  new Client({ connectionString: url });
} catch (error) {
  console.log(`node-postgres: ${error.message}`);
}
const { connectionSettings } = knex({ client: 'pg', connection: url }).client;
console.log(`Knex: ${JSON.stringify(connectionSettings)}`);
// What Knex's own acquireRawConnection() does with it.
const { host, database, user } = new Client(connectionSettings);
console.log(`connects to ${database} at ${host} as ${user}`);
END
PGHOST=other.example.org PGDATABASE=other PGUSER=somebody node show.js > seen 2>&1
cat > expected <<'END'
node-postgres: Invalid URL
Knex: {"filename":"postgres://owner@db1.example.org:5432,db2.example.org:5433/ehr"}
connects to other at other.example.org as somebody
END
cat seen
diff expected seen
