--@ declare
        was       pg_catalog.text[] := '{}'; -- the columns concerned as they are found, for the way back
        notes     pg_catalog.text; -- what else is to be kept of them
        nothing   pg_catalog.text; -- none, in the type of the old name
        from_type pg_catalog.text; -- where both are there
        to_type   pg_catalog.text;
        move_where CONSTANT pg_catalog.text := declaration #>> '{rename,moveWhere}'; -- whose rows take values
--@ renamed
        IF has_from AND NOT has_to THEN
          giver := from_name;
          taker := to_name;
        END IF;
--@ wanted
          wanted := look.declared;
          fill := wanted.value;
          to_type := CASE WHEN col = to_name THEN actual.type ELSE to_type END;
          IF actual.name IS NOT NULL THEN
            -- It keeps its type. (A generated column of the old name is refused below.)
            IF col = to_name OR (col = from_name AND actual.special IS NOT NULL) THEN
              wanted.name := col;
              wanted.type := actual.type;
              wanted.kind := actual.kind;
              wanted.width := actual.width;
            END IF;
            line := concat(' CONSTRAINT ' || quote_ident(actual.null_name), ' NOT NULL');
            was := was || format('%I %s%s%s%s', actual.name, actual.type, actual.collate_as,
                                 ' DEFAULT ' || actual.value,
                                 CASE WHEN actual.not_null AND NOT actual.unproved THEN line END);
            notes := concat(notes, CASE WHEN actual.unproved THEN
              format(E';\nALTER TABLE %s ADD%s %I NOT VALID', before.sql_name, line, actual.name) END,
              format(E';\nCOMMENT ON COLUMN %s.%I IS ', before.sql_name, actual.name)
                || quote_literal(actual.comment));
          END IF;
--@ dropped
            -- Both names: old values that are not the new ones. None comes back by itself where NULL may not.
            from_type := actual.type;
            nothing := CASE WHEN from_type ~ '\]$' THEN '{}' ELSE declaration #>> '{rename,empty}' END;
            holding := format(CASE WHEN actual.not_null
              THEN 'coalesce(t.%1$I::pg_catalog.text, %3$L)' ELSE 't.%1$I::pg_catalog.text' END
              || ' IS DISTINCT FROM t.%2$I::pg_catalog.text COLLATE "C"', to_name, from_name, nothing);
--@ another type
            conflicts := conflicts || format('%1$s is %2$s, and the application needs %3$s. Convert it '
              'first; or, where its values may be missing: ALTER TABLE %4$s RENAME COLUMN %1$I TO %5$I;'
              || CASE WHEN actual.not_null AND actual.special IS NULL
                 THEN ' ALTER TABLE %4$s ALTER COLUMN %5$I DROP NOT NULL;' ELSE '' END, actual.name,
              coalesce(actual.special, actual.type), wanted.type, this.sql_name, actual.name || '_old');
            CONTINUE;
--@ wider
          ELSIF actual.type <> wanted.type AND NOT is_told THEN
            RAISE INFO '%: leave % as %: it holds everything that % does', table_name, col, actual.type,
              wanted.type;
--@ not null
          ELSIF wanted.not_null AND (NOT actual.not_null OR actual.unproved) THEN
            clauses := clauses || format('ALTER COLUMN %I SET NOT NULL', col);
            fills := fills || format('%1$I = coalesce(%1$I, %2$s)', actual.name, fill);
            with_null := concat(with_null || ' OR ', quote_ident(actual.name), ' IS NULL');
--@ refused
          IF before.oid IS NOT NULL AND has_from THEN
            conflicts := conflicts || format(CASE WHEN has_to
              THEN 'there is a column %2$s again beside %3$s. Where it is of no more use: ALTER TABLE %4$s '
                'DROP COLUMN %2$I;'
              ELSE '%1$s is there, and so is %2$s: the change was taken back by hand. Look into it, and '
                'where it is of no more use: DROP TABLE %1$s;' END,
              before.sql_name, from_name, to_name, this.sql_name);
          -- Values move only where none can fail to convert, there and back, and all can be read there.
          ELSIF from_type !~ (CASE WHEN from_type = to_type THEN '^(text|json|character varying)|\]$'
            WHEN to_type IN ('text', 'character varying')
            THEN '^(text|jsonb{0,1}|character varying(\(\d+\)){0,1})$' ELSE '^$' END) THEN
            conflicts := conflicts || format('both %s (%s) and %s (%s) exist, and not every value of the one '
              'is a value of the other, or can be "none". Convert both to text (an array: USING '
              'to_json(%1$s)::text); or %3$s to the type of %1$s, where that is text, json or an array.',
              from_name, from_type, to_name, to_type);
          ELSIF has_from AND has_to AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target
            AND attname = move_where AND atttypid = 'bool'::regtype) THEN
            conflicts := conflicts || format('both %s and %s exist, and %s (boolean), which tells where a '
              'value may move, does not. Add it, or drop the one of the two columns that nobody uses.',
              from_name, to_name, move_where);
          END IF;
--@ rows
        -- Codes that are spent or replaced must not come back: an empty new name may mean just that. So a
        -- value moves only where the owner has them switched on.
        work := work || CASE WHEN has_from AND has_to THEN ARRAY[[format('UPDATE %1$s SET %2$I = '
          '%3$I::%4$s WHERE %2$I IS NULL AND %5$I AND %3$I::pg_catalog.text <> %6$L /* These work again. '
          'Clear them before where spent or replaced, or afterwards all: UPDATE %1$s SET %2$I = %6$L '
          'WHERE %5$I */', this.sql_name, to_name, from_name, to_type, move_where, nothing), NULL]] END;
--@ first
          steps := steps || CASE WHEN before.oid IS NULL THEN ARRAY[[format('CREATE TABLE %s (%s)',
            before.sql_name, array_to_string(was, ', ')) || before.closing || concat(notes), NULL]] END;
