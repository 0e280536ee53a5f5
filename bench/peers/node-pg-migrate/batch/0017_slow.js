exports.up = (pgm) => pgm.sql('SELECT pg_sleep(5)');
