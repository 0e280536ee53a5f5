import { checked, type Declaration } from '../../src/declaration';
import { program } from '../../src/program/program';
import * as tables from '../../src/table-change';

/** The declaration that a migration file hands to `tableChange`. */
function declarationOf(migration: string): Declaration {
  let declaration: Declaration | undefined;
  const { tableChange } = tables;
  Object.assign(tables, {
    tableChange: (given: Declaration) => {
      declaration = given;
      return tableChange(given);
    },
  });
  require(migration);
  if (!declaration) throw new Error(`${migration} declares nothing`);
  return declaration;
}

const change = checked(declarationOf('../../migrations/0016_add_security_fields'));

/** The program as it is sent, both ways. */
export const texts = [program(change, 'up'), program(change, 'down')];
