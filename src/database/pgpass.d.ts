// As node-postgres itself calls it: with its own connection parameters.
declare module 'pgpass' {
  export default function pgpass(connection: object, found: (password: string | undefined) => void): void;
}
