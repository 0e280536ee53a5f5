// Sends an SQL file by node-postgres: as one message or, with --each, a statement a message.
const { readFileSync } = require('node:fs');
const { Client } = require('pg');

const [file, each] = process.argv.slice(2);

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  const text = readFileSync(file, 'utf8');
  for (const statement of each ? text.split(/(?<=;)\n/).filter(Boolean) : [text])
    await client.query(statement);
  await client.end();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
