/** What is said where Knex takes for done what is not. */
export const recordedTooEarly = (name: string) =>
  `Knex has it recorded, so npx knex migrate:latest would do nothing: npx knex migrate:down ${name} deletes the record, then migrate:latest`;
