const connection = process.env.DATABASE_URL;

module.exports = {
  development: { client: 'pg', connection },
  production: { client: 'pg', connection, pool: { min: 2, max: 10 } },
};
