#!/usr/bin/env bash
# For a deploy host: plan, migrate, verify; where the table is not as declared afterwards, take it back.
#
#   DATABASE_URL=postgres://... docs/examples/deploy.sh
#
# Once, where there is a compiler: npm ci && npm run build. On the host: npm ci --omit=dev, with dist/ copied there.
# Exit code: 0 done, 1 refused or failed (the message says why), with the table as it was; 2 could not look.
set -euo pipefail
cd "$(dirname "$0")/../.."
export NODE_ENV=production

knex() { node_modules/.bin/knex --knexfile dist/knexfile.js "$@"; }

echo '--- what will be done'
node dist/src/commands/cli.js plan

echo '--- migrate'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
knex migrate:latest | tee "$log"

echo '--- verify'
code=0
node dist/src/commands/cli.js verify || code=$?
# Only what this very run has done: a table that somebody changed since an earlier run is not ours to take back.
if [ "$code" = 1 ] && grep -q '^CREATE TABLE .*user_profiles_0016_before' "$log"; then
  echo '--- not as declared: taking it back' >&2
  knex migrate:down 0016_add_security_fields
fi
exit "$code"
