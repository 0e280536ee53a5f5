--@ declare
        from_type pg_catalog.text; -- of the old name, where it is added again beside the new one
        from_kind pg_catalog.text;
        from_size integer;
        to_type   pg_catalog.text;
        to_size   integer;
--@ renamed
        -- Without the shape before nothing is ours to take back.
        IF before.oid IS NULL THEN
          RAISE NOTICE '%: nothing to take back: there is no table %. It has been taken back already, or the '
            'columns were not added by this change', table_name, before.sql_name;
          EXIT;
        END IF;
        IF has_to AND NOT has_from AND ARRAY(
          SELECT attname::text FROM pg_attribute
          WHERE attrelid = before.oid AND attname IN (from_name, to_name)) = ARRAY[from_name] THEN
          giver := to_name;
          taker := from_name;
        END IF;
--@ wanted
            SELECT b.place, b.name, b.type, b.collate_as, b.not_null, b.null_name, b.unproved, b.value,
                   CASE WHEN b.name IN (from_name, to_name) AND NOT b.not_null THEN NULL ELSE coalesce(
                            CASE WHEN b.name NOT IN (from_name, to_name) THEN NULL
                                 WHEN b.type IN ('json', 'jsonb', 'text', 'character varying')
                                   OR substring(b.type FROM '^character varying\((\d+)\)$')::integer
                                      >= length(none)
                                 THEN quote_literal(none)
                                 WHEN b.type ~ '\]$' THEN '''{}''' END, b.value, d.value) END, b.comment
            FROM shape b LEFT JOIN declared d ON d.name = b.name
            WHERE b.relation = before.oid
--@ each
          IF col.name = from_name AND col.type IS NULL THEN
            from_type := col.wanted_type;
            from_kind := col.wanted_kind;
            from_size := col.wanted_width;
          ELSIF col.name = to_name THEN
            to_type := col.type;
            to_size := col.width;
          END IF;
--@ dropped
            -- A value is what is not the default with which up would add the column again. As text where the
            -- type is another by now, or has no operator of its own.
            holding := holding || format(CASE
              WHEN col.declared_value IS NULL THEN 't.%1$I IS NOT NULL'
              WHEN col.type = col.declared_type AND col.type !~ '^(json$|character)'
              THEN 't.%1$I IS DISTINCT FROM %2$s'
              ELSE 't.%1$I::pg_catalog.text IS DISTINCT FROM (%2$s)::pg_catalog.text' END,
              col.name, col.declared_value);
--@ another type
            IF col.type <> col.wanted_type AND NOT is_told THEN
              RAISE NOTICE '%: leave % as %, though it was %: its type has been changed since', table_name,
                col.name, col.type, col.wanted_type;
            END IF;
            CONTINUE WHEN col.special IS NOT NULL OR col.type NOT IN ('text', 'json', 'jsonb')
              OR col.wanted_type NOT IN ('text', 'json', 'jsonb');
--@ wider
            line := format('ALTER TABLE %s ALTER COLUMN %I TYPE %s%s', this.sql_name, col.name,
                           col.wanted_type, col.collate_as);
            SELECT sum(pg_total_relation_size(r)) + (count(*) - 1) * 1048576 INTO touched
            FROM unnest(relations) r; -- each partition is made anew, however small
            IF col.kind = 'text' AND touched <= {{rewriteLimit}} THEN -- bytes
              -- Fails where a value does not fit, or a view needs it.
              later := later || ARRAY[[line, 'may fail']];
            ELSIF NOT is_told THEN
              RAISE NOTICE '%: leave % as %, though it was %: it would rewrite % in % tables. At a quiet '
                'hour: %;', table_name, col.name, col.type, col.wanted_type, pg_size_pretty(touched),
                cardinality(relations), line;
            END IF;
--@ refused
--@ rows
        -- An archived old value whose row has no new one by now has been replaced and spent since. Said as
        -- "none" under the new name, so that the next up does not take it for one that never moved.
        IF from_type IS NOT NULL AND kept_oid IS NOT NULL
          AND to_type ~ '^(text|json|character varying)|\]$' THEN
          steps := ARRAY[[format('UPDATE %s t SET %I = %L FROM (SELECT * FROM %s) a '
            'WHERE %s AND t.%2$I IS NULL', this.sql_name, to_name,
            CASE WHEN to_type ~ '\]$' THEN '{}' WHEN to_size >= length(none) THEN none ELSE '' END,
            kept.sql_name, this.matches), NULL]];
        END IF;
--@ first
--@ back
        -- Both names again: the old one gets what the archive holds, and otherwise the present value of the
        -- new one (which stays there too) where that can be cast: of text to json, a list of plain strings.
        IF from_type IS NOT NULL AND to_type IS NOT NULL THEN
          steps := steps || ARRAY[[format('UPDATE %s SET %I = %I::pg_catalog.text::%s WHERE %s',
            this.sql_name, from_name, to_name, from_type, format(CASE
              WHEN from_type = to_type THEN '%1$I IS NOT NULL'
              WHEN from_kind = 'text' THEN 'pg_catalog.length(%1$I::pg_catalog.text) <= %2$s'
              WHEN from_type IN ('json', 'jsonb') THEN '%1$I::pg_catalog.text ~ %3$L'
              ELSE 'false' END, to_name, from_size,
              '^\[ *("[^"\\[:cntrl:]]*"( *, *"[^"\\[:cntrl:]]*")*){0,1} *\]$')), NULL]];
        END IF;
--@ last
          steps := ARRAY[[format('DROP TABLE %s', before.sql_name), NULL]];
