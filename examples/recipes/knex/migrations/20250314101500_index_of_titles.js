exports.up = (knex) => knex.schema.alterTable('book', (table) => table.index('title'));

exports.down = (knex) => knex.schema.alterTable('book', (table) => table.dropIndex('title'));
