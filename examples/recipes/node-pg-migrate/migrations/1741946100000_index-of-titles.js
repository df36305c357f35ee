exports.up = (pgm) => pgm.createIndex('book', 'title');

exports.down = (pgm) => pgm.dropIndex('book', 'title');
