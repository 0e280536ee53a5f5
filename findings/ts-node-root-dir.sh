#!/usr/bin/env bash
# ts-node 10.9.2 with typescript 6.0.3: a tsconfig.json that tsc itself accepts, without outDir and rootDir, is refused with
# TS5011 as soon as a file is in a folder below it, under --transpile-only too, where nothing is checked and nothing is
# emitted: ts-node sets an outDir of its own. "rootDir": "." cures it. With typescript 5.9.3 it is not needed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
echo '{ "private": true }' > package.json
echo 'const word: string = "runs"; console.log(word);' > src/main.ts
plain='{ "compilerOptions": { "target": "es2022", "module": "node16", "moduleResolution": "node16", "types": [], "noEmit": true, "lib": ["es2022", "dom"] } }'
rooted=${plain/\"noEmit\"/\"rootDir\": \".\", \"noEmit\"}
look() {
  echo "$2" > tsconfig.json
  echo "typescript $1, $3"
  npx tsc && echo 'tsc: accepted'
  npx ts-node --transpile-only src/main.ts 2>&1 | grep -oE '^runs|TS[0-9]+' || true
}

for version in 5.9.3 6.0.3; do
  npm install --silent --ignore-scripts --no-audit --no-fund ts-node@10.9.2 "typescript@$version"
  look "$version" "$plain" 'no rootDir'
  look "$version" "$rooted" 'rootDir "."'
done > seen
cat > expected <<'END'
typescript 5.9.3, no rootDir
tsc: accepted
runs
typescript 5.9.3, rootDir "."
tsc: accepted
runs
typescript 6.0.3, no rootDir
tsc: accepted
TS5011
typescript 6.0.3, rootDir "."
tsc: accepted
runs
END
cat seen
diff expected seen
