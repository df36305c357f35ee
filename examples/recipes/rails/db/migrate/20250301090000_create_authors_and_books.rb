class CreateAuthorsAndBooks < ActiveRecord::Migration[6.1]
  def change
    create_table :authors do |t|
      t.string :name, null: false, index: { unique: true }
    end
    create_table :books do |t|
      t.string :title, null: false
      t.references :author, null: false, foreign_key: true
    end
    reversible do |direction|
      direction.up do
        execute "INSERT INTO authors (name) VALUES ('Olga Tokarczuk'), ('Bolesław Prus')"
      end
    end
  end
end
