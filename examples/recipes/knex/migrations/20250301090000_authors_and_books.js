exports.up = async (knex) => {
  await knex.schema.createTable('author', (table) => {
    table.increments();
    table.string('name', 200).notNullable().unique();
  });
  await knex.schema.createTable('book', (table) => {
    table.increments();
    table.string('title', 200).notNullable();
    table.integer('author_id').notNullable().references('author.id');
  });
  await knex('author').insert([{ name: 'Olga Tokarczuk' }, { name: 'Bolesław Prus' }]);
};

exports.down = async (knex) => {
  await knex.schema.dropTable('book');
  await knex.schema.dropTable('author');
};
