module.exports = {
  development: { client: 'pg', connection: 'postgres://localhost/shop_development' },
  test: { client: 'pg', connection: process.env.DATABASE_URL },
};
