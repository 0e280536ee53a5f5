#!/usr/bin/env bash
# knex 3.3.0 with ts-node 10.9.2 and typescript 7.0.2: Knex's command line says that ts-node could not be loaded, in the
# same words as where it is not installed, and tries five other packages. ts-node is installed (npm accepts the pair:
# ts-node's peer dependency is typescript >=2.7) and dies while loading, because typescript 7 has no JavaScript API.
# With typescript 6.0.3 the same files are loaded.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true }' > package.json
echo '{ "compilerOptions": { "module": "node16", "rootDir": "." } }' > tsconfig.json
echo "export default { client: 'pg' };" > knexfile.ts
install() { npm install --silent --ignore-scripts --no-audit --no-fund knex@3.3.0 pg@8.23.1 ts-node@10.9.2 "typescript@$1"; }
look() {
  echo "typescript $1"
  npx knex --version 2>&1 | grep 'ts-node/'
  node -e "require('ts-node/register'); console.log('ts-node is loaded')" 2>&1 | grep -E '^TypeError|loaded' || true
}

for version in 6.0.3 7.0.2; do
  install "$version"
  look "$version"
done > seen
cat > expected <<'END'
typescript 6.0.3
Requiring external module ts-node/register
ts-node is loaded
typescript 7.0.2
Failed to load external module ts-node/register
TypeError: Cannot read properties of undefined (reading 'fileExists')
END
cat seen
diff expected seen
