import { escapeIdentifier, escapeLiteral } from 'pg';

/** A name as SQL wants it: quoted only where it must be, so that the script reads like one made by hand. */
export function name(raw: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(raw) ? raw : escapeIdentifier(raw);
}

/** A string, or NULL, as an SQL literal. */
export function literal(raw: string | undefined): string {
  return raw === undefined ? 'NULL' : escapeLiteral(raw);
}

/** Indents every line but the first, which stands where the placeholder stood. */
export function indent(text: string, by: number): string {
  return text.replace(/\n(?=.)/g, `\n${' '.repeat(by)}`);
}
