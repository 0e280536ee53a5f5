import { escapeIdentifier } from 'pg';

/** A name as SQL wants it: quoted only where it must be, so that the script reads like one made by hand. */
export function name(raw: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(raw) ? raw : escapeIdentifier(raw);
}
