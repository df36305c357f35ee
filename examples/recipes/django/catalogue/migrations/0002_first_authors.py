from django.db import migrations


def add_authors(apps, schema_editor):
    author = apps.get_model("catalogue", "Author")
    for name in ("Olga Tokarczuk", "Bolesław Prus"):
        author.objects.create(name=name)


class Migration(migrations.Migration):
    dependencies = [("catalogue", "0001_initial")]

    operations = [migrations.RunPython(add_authors, migrations.RunPython.noop)]
