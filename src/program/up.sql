--@ declare
        was       pg_catalog.text[] := '{}'; -- the columns concerned as they are found, for the way back
        notes     pg_catalog.text[] := '{}'; -- what else is to be kept of them
        from_type pg_catalog.text;
        to_type   pg_catalog.text;
        can_tell  boolean;
        nothing   pg_catalog.text; -- none, in the type of the old name
--@ renamed
        IF has_from AND NOT has_to THEN
          giver := from_name;
          taker := to_name;
        END IF;
--@ wanted
            SELECT place, name, type, '', not_null, NULL::name, false, value, value, NULL::text FROM declared
            UNION ALL
            -- Nullable, without a default, of the type that it has.
            SELECT 1000, to_name, coalesce(n.type, o.type, declaration -> 'rename' ->> 'type'),
                   coalesce(n.collate_as, o.collate_as, ''), false, NULL, false, NULL, NULL, NULL
            FROM (SELECT 1) one
            LEFT JOIN shape n ON n.relation = target AND n.name = to_name
            LEFT JOIN shape o ON o.relation = target AND o.name = from_name
            WHERE to_name IS NOT NULL
--@ each
          IF col.name = from_name THEN
            nothing := CASE WHEN col.type ~ '\]$' THEN '{}' ELSE none END;
          END IF;
          IF col.type IS NOT NULL THEN
            line := concat(' CONSTRAINT ' || quote_ident(col.found_null_name), ' NOT NULL');
            was := was || format('%I %s%s%s%s', col.found_name, col.type, col.collate_as,
                                 ' DEFAULT ' || col.value,
                                 CASE WHEN col.not_null AND NOT col.unproved THEN line END);
            IF col.unproved THEN
              notes := notes || format(E';\nALTER TABLE %s ADD%s %I NOT VALID', before.sql_name, line,
                                       col.found_name);
            END IF;
            IF col.found_comment IS NOT NULL THEN
              notes := notes || format(E';\nCOMMENT ON COLUMN %s.%I IS %L', before.sql_name, col.found_name,
                                       col.found_comment);
            END IF;
          END IF;
--@ dropped
            -- Both names: old values that are not the new ones. None comes back by itself where NULL may not.
            holding := holding || format(CASE WHEN col.not_null
              THEN 'coalesce(t.%2$I::pg_catalog.text, %3$L) IS DISTINCT FROM t.%1$I::pg_catalog.text'
              ELSE 't.%2$I::pg_catalog.text IS DISTINCT FROM t.%1$I::pg_catalog.text' END,
              from_name, to_name, nothing);
--@ another type
            conflicts := conflicts || format('%1$s is %2$s, and the application needs %3$s. Rename or '
              'convert it first, for example: ALTER TABLE %4$s RENAME COLUMN %5$I TO %6$I;%7$s', col.name,
              coalesce(col.special, col.type), col.wanted_type, this.sql_name, col.name, col.name || '_old',
              CASE WHEN col.not_null AND col.special IS NULL THEN format(
                ' ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL;', this.sql_name, col.name || '_old') END);
            CONTINUE;
--@ wider
            IF NOT is_told THEN
              RAISE NOTICE '%: leave % as %: it holds everything that % does', table_name, col.name, col.type,
                col.wanted_type;
            END IF;
--@ refused
          IF before.oid IS NOT NULL AND giver IS NOT NULL THEN
            conflicts := conflicts || format('%1$s is there, and so is %2$s: the change was taken back by '
              'hand. Look into it, and where it is of no more use: DROP TABLE %1$s;', before.sql_name,
              from_name);
          END IF;
          IF has_from AND has_to THEN
            SELECT min(format_type(atttypid, atttypmod)) FILTER (WHERE attname = from_name),
                   min(format_type(atttypid, atttypmod)) FILTER (WHERE attname = to_name),
                   bool_or(attname = move_where AND atttypid = 'bool'::regtype)
            INTO from_type, to_type, can_tell
            FROM pg_attribute WHERE attrelid = target AND NOT attisdropped;
            -- Values move only where none can fail to convert, there and back, and all can be read there.
            IF from_type <> to_type AND (to_type NOT IN ('text', 'character varying')
                                         OR from_type !~ '^(text$|json|character varying)') THEN
              conflicts := conflicts || format('both %s (%s) and %s (%s) exist, and not every value of the '
                'one is a value of the other. Convert %3$s to the type of %1$s; to text is enough where that '
                'is text or json.', from_name, from_type, to_name, to_type);
            ELSIF NOT can_tell THEN
              conflicts := conflicts || format('both %s and %s exist, and %s (boolean), which tells where a '
                'value may move, does not. Add it, or drop the one of the two columns that nobody uses.',
                from_name, to_name, move_where);
            END IF;
          END IF;
--@ rows
        -- Codes that are spent or replaced must not come back: an empty new name may mean just that. So a
        -- value moves only where the owner has them switched on.
        IF pass = 1 AND has_from AND has_to THEN
          steps := ARRAY[[format('UPDATE %1$s SET %2$I = %3$I::%4$s WHERE %2$I IS NULL AND %5$I '
            'AND %3$I::pg_catalog.text <> %6$L', this.sql_name, to_name, from_name, to_type, move_where,
            nothing), NULL]];
        END IF;
--@ first
          IF before.oid IS NULL THEN
            steps := ARRAY[[format('CREATE TABLE %s (%s)', before.sql_name, array_to_string(was, ', '))
              || before.closing || array_to_string(notes, ''), NULL]] || steps;
          END IF;
