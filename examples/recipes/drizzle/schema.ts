import { index, integer, pgTable, text } from 'drizzle-orm/pg-core';

export const author = pgTable('author', {
  id: integer().primaryKey().generatedAlwaysAsIdentity(),
  name: text().notNull().unique(),
});

export const book = pgTable(
  'book',
  {
    id: integer().primaryKey().generatedAlwaysAsIdentity(),
    title: text().notNull(),
    authorId: integer('author_id').notNull().references(() => author.id),
  },
  (table) => [index('book_title_idx').on(table.title)],
);
