import type { Client } from 'pg';

/**
 * What the catalog says about a schema: a line an object, with everything that a change could leave behind (types,
 * nullability, defaults, comments, constraints, indexes, triggers, policies, owners, privileges). Two schemas are
 * alike where these lists are equal. The order of columns is left out: a column that was dropped comes back last.
 */
export async function schemaOf(client: Client, schema = 'public'): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(
    `WITH relation AS (
       SELECT c.oid AS id, c.*, format('%I', c.relname) AS name -- c.* has the oid only from 12 on
       FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE n.nspname = $1 AND c.relname NOT LIKE 'knex\\_%'
     )
     SELECT format('relation %s: kind %s, owner %s, persistence %s, row security %s %s, options %s, privileges %s, comment %s',
                   name, relkind, pg_get_userbyid(relowner), relpersistence, relrowsecurity, relforcerowsecurity,
                   reloptions, ${privileges(`coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))`)},
                   obj_description(id, 'pg_class')) AS line
     FROM relation
     UNION ALL
     SELECT format('column %s.%I: %s, collation %s, not null %s, default %s, identity %s, generated %s, inherited %s, statistics %s, privileges %s, comment %s',
                   r.name, a.attname, format_type(a.atttypid, a.atttypmod), (SELECT collname FROM pg_collation l WHERE l.oid = a.attcollation), a.attnotnull,
                   pg_get_expr(d.adbin, d.adrelid), to_jsonb(a) ->> 'attidentity', to_jsonb(a) ->> 'attgenerated', a.attinhcount,
                   nullif(to_jsonb(a) ->> 'attstattarget', '-1'), ${privileges('a.attacl')}, col_description(a.attrelid, a.attnum))
     FROM relation r JOIN pg_attribute a ON a.attrelid = r.id AND a.attnum > 0 AND NOT a.attisdropped
     LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE r.relkind NOT IN ('i', 'I')
     UNION ALL
     SELECT format('constraint %s.%s: %s, deferrable %s %s, validated %s', r.name,
                   -- From 18 a NOT NULL has a name of its own, which the server chooses.
                   CASE WHEN k.contype <> 'n' THEN k.conname END, pg_get_constraintdef(k.oid),
                   k.condeferrable, k.condeferred, k.convalidated)
     FROM relation r JOIN pg_constraint k ON k.conrelid = r.id
     UNION ALL
     SELECT 'index ' || pg_get_indexdef(id) FROM relation WHERE relkind IN ('i', 'I')
     UNION ALL
     SELECT 'view ' || name || pg_get_viewdef(id) FROM relation WHERE relkind IN ('v', 'm')
     UNION ALL
     SELECT 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text FROM relation r JOIN pg_trigger t ON t.tgrelid = r.id AND NOT t.tgisinternal
     UNION ALL
     SELECT format('policy %s.%I: %s %s', r.name, p.polname, pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
     FROM relation r JOIN pg_policy p ON p.polrelid = r.id
     UNION ALL
     SELECT format('function %s: %s', p.oid::regprocedure, md5(p.prosrc)) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1
     UNION ALL
     SELECT 'type ' || t.typname FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1 AND t.typrelid = 0 AND t.typelem = 0
     UNION ALL
     SELECT format('schema: owner %s, privileges %s', pg_get_userbyid(nspowner), ${privileges(`coalesce(nspacl, acldefault('n', nspowner))`)})
     FROM pg_namespace WHERE nspname = $1`,
    [schema],
  );
  return rows.map(({ line }) => line).sort();
}

/** Every row of every table of a schema but Knex's, as text. */
export async function dataOf(client: Client, schema = 'public'): Promise<Record<string, string[]>> {
  const { rows: tables } = await client.query<{ name: string; query: string }>(
    `SELECT c.relname AS name, format('SELECT to_jsonb(t)::text AS line FROM ONLY %I.%I t', n.nspname, c.relname) AS query
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = $1 AND c.relkind = 'r' AND c.relname NOT LIKE 'knex\\_%'`,
    [schema],
  );
  const data: Record<string, string[]> = {};
  for (const { name, query } of tables) {
    const { rows } = await client.query<{ line: string }>(query);
    data[name] = rows.map(({ line }) => line).sort();
  }
  return data;
}

/** Both: the same before and after where nothing has changed. */
export async function everythingIn(client: Client) {
  return { schema: await schemaOf(client), data: await dataOf(client) };
}

/** @throws where the work is not refused with such a message, or leaves anything behind */
export async function expectRefusal(client: Client, work: () => Promise<unknown>, message: RegExp) {
  const before = await everythingIn(client);
  await expect(work()).rejects.toMatchObject({ name: 'UserError', message: expect.stringMatching(message) });
  expect(await everythingIn(client)).toEqual(before);
}

/** What holds or waits for a lock on user_profiles or on a table of ours beside it, other than these clients and autovacuum. */
export async function locksLeft(client: Client, ...others: readonly Client[]): Promise<unknown[]> {
  const { rows } = await client.query(
    `SELECT l.relation::regclass::text AS relation, l.mode, l.granted, a.application_name, a.state, left(a.query, 80) AS query
     FROM pg_locks l JOIN pg_stat_activity a USING (pid)
     WHERE l.relation::regclass::text LIKE '%user\\_profiles%' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.pid <> pg_backend_pid() AND l.pid <> ALL ($1) AND a.backend_type = 'client backend'`,
    [others.map((other) => (other as unknown as { processID: number }).processID)],
  );
  return rows;
}

/** An access control list as sorted text. */
function privileges(acl: string): string {
  return `ARRAY(SELECT format('%s=%s%s/%s', coalesce(g.rolname, 'PUBLIC'), x.privilege_type, CASE WHEN x.is_grantable THEN '*' END, x.grantor::regrole)
            FROM aclexplode(${acl}) x LEFT JOIN pg_roles g ON g.oid = x.grantee ORDER BY 1)`;
}
