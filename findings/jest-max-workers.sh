#!/usr/bin/env bash
# jest 30.5.2: maxWorkers in percent are a share of the cores, up to 100%. Above that the sign is dropped and the number
# stays: 200%, meant as two workers a core for tests that mostly wait, is 200 workers on every machine, without a warning.
# Instead: a number, as 2 * os.availableParallelism() in jest.config.js.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo '{ "private": true }' > package.json
npm install --silent --ignore-scripts --no-audit --no-fund jest@30.5.2
cores=$(node -p 'os.availableParallelism()')
workers() {
  echo "module.exports = { maxWorkers: '$1' };" > jest.config.js
  npx jest --showConfig | node -p 'JSON.parse(fs.readFileSync(0)).globalConfig.maxWorkers'
  echo 'module.exports = {};' > jest.config.js
  npx jest "--maxWorkers=$1" --showConfig | node -p 'JSON.parse(fs.readFileSync(0)).globalConfig.maxWorkers'
}

for share in 100% 101% 200%; do
  echo "$share: $(workers "$share" | xargs)"
done > seen
cat > expected <<END
100%: $cores $cores
101%: 101 101
200%: 200 200
END
cat seen
diff expected seen
