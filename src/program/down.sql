--@ declare
        none      CONSTANT pg_catalog.text := declaration #>> '{rename,empty}';
        declared  pg_catalog.record; -- as declared
        from_wanted pg_catalog.record; -- the old name as wanted,
        to_found  pg_catalog.record; -- the new one as it is
--@ renamed
        -- Without the shape before nothing is ours to take back.
        IF before.oid IS NULL THEN
          said := ARRAY[format('%s: nothing to take back: there is no table %s. It has been taken back '
            'already, or the columns were not added by this change', table_name, before.sql_name)];
          EXIT; -- of both passes
        END IF;
        IF has_to AND ARRAY( -- it had the old name alone
          SELECT attname::text FROM pg_attribute
          WHERE attrelid = before.oid AND attname IN (from_name, to_name)) = ARRAY[from_name] THEN
          IF has_from THEN
            conflicts := ARRAY[format('there is a column %1$s again beside %2$s. Where it is of no more '
              'use: ALTER TABLE %3$s DROP COLUMN %1$I;', from_name, to_name, this.sql_name)];
          ELSE
            giver := to_name;
            taker := from_name;
          END IF;
        END IF;
--@ wanted
          declared := look.declared;
          wanted := look.before;
          -- For a NULL of a column that becomes NOT NULL.
          fill := CASE WHEN (col IN (from_name, to_name)) IS NOT TRUE
                       THEN coalesce(wanted.value, declared.value)
                       WHEN NOT wanted.not_null THEN NULL
                       WHEN wanted.type IN ('json', 'jsonb')
                         OR wanted.kind = 'text' AND wanted.width >= length(none) THEN quote_literal(none)
                       WHEN wanted.type ~ '\]$' THEN '''{}'''
                       ELSE wanted.value END;
          IF col = from_name THEN
            from_wanted := wanted;
          ELSIF col = to_name THEN
            to_found := actual;
          END IF;
--@ dropped
            -- A value is what is not the default with which up would add the column again. As text where the
            -- type is another by now, or has no operator of its own.
            holding := concat(holding || ' OR ', format(CASE
              WHEN declared.value IS NULL THEN 't.%1$I IS DISTINCT FROM NULL' -- a row of NULLs is none
              WHEN actual.type = declared.type AND actual.type !~ '^(json$|character)'
              THEN 't.%1$I IS DISTINCT FROM %2$s'
              ELSE 't.%1$I::pg_catalog.text IS DISTINCT FROM (%2$s)::pg_catalog.text' END,
              col, declared.value));
--@ added
            after_alter := after_alter || CASE WHEN fill IS DISTINCT FROM wanted.value THEN ARRAY[[
                format('ALTER TABLE %s ALTER COLUMN %I %s', this.sql_name, col,
                       coalesce('SET DEFAULT ' || wanted.value, 'DROP DEFAULT')), NULL]] END
              || CASE WHEN wanted.comment IS NOT NULL THEN ARRAY[[
                format('COMMENT ON COLUMN %s.%I IS %L', this.sql_name, col, wanted.comment), NULL]] END;
--@ another type
            IF actual.type <> wanted.type AND NOT is_told THEN
              RAISE INFO '%: leave % as %, though it was %: its type has been changed since', table_name,
                col, actual.type, wanted.type;
            END IF;
            CONTINUE WHEN actual.special IS NOT NULL OR actual.type NOT IN ('text', 'json', 'jsonb')
              OR wanted.type NOT IN ('text', 'json', 'jsonb');
--@ wider
          ELSIF actual.type <> wanted.type THEN
            -- A cast would cut trailing spaces; this fails where a value is too long.
            line := format('ALTER TABLE %1$s ALTER COLUMN %2$I TYPE %3$s%4$s USING pg_catalog.substr(%2$I, '
              '1, CASE WHEN pg_catalog.length(%2$I) <= %5$s THEN pg_catalog.length(%2$I) ELSE -1 END)',
              this.sql_name, col, wanted.type, actual.collate_as, wanted.width);
            SELECT sum(pg_total_relation_size(r)) + (count(*) - 1) * 1048576 INTO touched
            FROM unnest(relations) r; -- each partition is made anew, however small
            IF actual.kind = 'text' AND pass = 1 AND touched <= {{rewriteLimit}} THEN -- bytes
              after_alter := after_alter || ARRAY[[line, 'it can be done']];
            ELSIF NOT is_told THEN
              RAISE INFO '%: leave % as %, though it was %: it would rewrite % in % tables. At a quiet '
                'hour: %;', table_name, col, actual.type, wanted.type, pg_size_pretty(touched),
                cardinality(relations), line;
            END IF;
--@ not null
          ELSIF wanted.not_null AND (actual.not_null IS NOT TRUE OR actual.unproved AND NOT wanted.unproved)
            AND (actual.name IS NOT NULL OR fill IS NULL) THEN
            line := format(
              CASE WHEN actual.not_null OR wanted.null_name IS NULL THEN 'ALTER COLUMN %1$I SET NOT NULL'
                   WHEN wanted.unproved THEN 'ADD CONSTRAINT %2$I NOT NULL %1$I NOT VALID'
                   ELSE 'ADD CONSTRAINT %2$I NOT NULL %1$I' END, col, wanted.null_name);
            IF fill IS NOT NULL AND NOT wanted.unproved THEN
              clauses := clauses || line;
              fills := fills || format('%1$I = coalesce(%1$I, (%2$s)::%3$s)', actual.name, fill, actual.type);
              with_null := concat(with_null || ' OR ', quote_ident(actual.name), ' IS NULL');
            ELSIF pass = 1 THEN -- nothing says what to fill with; or NOT VALID, and refuses what we write
              after_alter := after_alter || ARRAY[[
                format('ALTER TABLE %s %s', this.sql_name, line), 'it can be done']];
            END IF;
--@ refused
--@ rows
        -- An archived old value whose row has no new one by now has been replaced and spent since. Said as
        -- "none" under the new name, so that the next up does not take it for one that never moved.
        IF from_name = ANY (added) AND incoming_oid IS NOT NULL THEN
          work := work || CASE WHEN to_found.type ~ '^(text|json|character varying)|\]$' THEN ARRAY[[
            format('UPDATE %s t SET %I = %L FROM (SELECT * FROM %s) a WHERE %s AND t.%2$I IS NULL',
                   this.sql_name, to_name, CASE WHEN to_found.type ~ '\]$' THEN '{}'
                     WHEN to_found.width >= length(none) THEN none ELSE '' END,
                   incoming.sql_name, on_key), NULL]] END;
        END IF;
--@ first
--@ back
        -- Both names again: the old one gets what the archive holds, and otherwise the present value of the
        -- new one (which stays there too) where that can be cast: of text to json, a list of plain strings.
        IF from_name = ANY (added) AND has_to THEN
          work := work || ARRAY[[format('UPDATE %s SET %I = %I::pg_catalog.text::%s WHERE %s',
            this.sql_name, from_name, to_name, from_wanted.type, format(CASE
              WHEN from_wanted.type = to_found.type THEN '%1$I IS NOT NULL'
              WHEN from_wanted.kind = 'text' THEN 'pg_catalog.length(%1$I::pg_catalog.text) <= %2$s'
              WHEN from_wanted.type IN ('json', 'jsonb') THEN '%1$I::pg_catalog.text ~ %3$L'
              ELSE 'false' END, to_name, from_wanted.width,
              '^\[ *("[^"\\\x01-\x1f]*"( *, *"[^"\\\x01-\x1f]*")*){0,1} *\]$')), NULL]];
        END IF;
--@ may fail
              IF steps[i][2] = 'it can be done' THEN
                RAISE INFO '%: left as it is, as %. At a quiet hour: %;', table_name, line, doing;
                CONTINUE;
              END IF;
--@ last
          after_check := ARRAY[[format('DROP TABLE %s', before.sql_name), NULL]] || after_check;
