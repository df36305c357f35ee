"""What tells one changeset from another: every attribute of every kind of change.

The schema of Liquibase's own XML says which attributes there are. Pairs of changelogs that differ
in the value of one must not come to the same definition.
"""

import copy
import zipfile
from xml.etree import ElementTree

import pytest
from support import fix_liquibase

from sqlrs_engine.errors import StepFailed
from sqlrs_engine.prepare.liquibase.program import program_environment
from sqlrs_engine.prepare.liquibase.session import Session
from sqlrs_engine.processes.cancellation import Cancellation

pytestmark = [pytest.mark.timeout(600)]

URL = "offline:postgresql?version=18.0"
XS = "{http://www.w3.org/2001/XMLSchema}"
NAMESPACE = "http://www.liquibase.org/xml/ns/dbchangelog"
LB = f"{{{NAMESPACE}}}"
LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
LATEST = f"{NAMESPACE}/dbchangelog-latest.xsd"
SCHEMA = "www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd"

COLUMN = '<column name="a" type="int"><constraints nullable="false"/></column>'
DATA = '<column name="a" value="1"/>'
WHERE = '<where>x</where><whereParams><param name="b" value="1"/></whereParams>'
CHANGES = [
    f'<createTable tableName="t">{COLUMN}</createTable>',
    '<dropTable tableName="t"/>',
    '<createView viewName="v">select 1</createView>',
    '<renameView oldViewName="a" newViewName="b"/>',
    '<dropView viewName="v"/>',
    f'<insert tableName="t">{DATA}</insert>',
    f'<addColumn tableName="t">{COLUMN}</addColumn>',
    "<sql>select 1</sql>",
    '<createProcedure procedureName="p">select 1</createProcedure>',
    '<dropProcedure procedureName="p"/>',
    '<sqlFile path="a.sql"/>',
    '<renameTable oldTableName="a" newTableName="b"/>',
    '<renameColumn tableName="t" oldColumnName="a" newColumnName="b"/>',
    '<dropColumn tableName="t" columnName="a"/>',
    '<mergeColumns tableName="t" column1Name="a" column2Name="b" finalColumnName="c"'
    ' finalColumnType="int" joinString=""/>',
    '<modifyDataType tableName="t" columnName="a" newDataType="int"/>',
    '<createSequence sequenceName="s"/>',
    '<alterSequence sequenceName="s"/>',
    '<dropSequence sequenceName="s"/>',
    '<renameSequence oldSequenceName="a" newSequenceName="b"/>',
    '<createIndex tableName="t" indexName="i"><column name="a"/></createIndex>',
    '<dropIndex tableName="t" indexName="i"/>',
    '<addNotNullConstraint tableName="t" columnName="a"/>',
    '<dropNotNullConstraint tableName="t" columnName="a"/>',
    '<addForeignKeyConstraint constraintName="f" baseTableName="a" baseColumnNames="a"'
    ' referencedTableName="b" referencedColumnNames="b"/>',
    '<dropForeignKeyConstraint constraintName="f" baseTableName="a"/>',
    '<dropAllForeignKeyConstraints baseTableName="a"/>',
    '<addPrimaryKey tableName="t" columnNames="a"/>',
    '<dropPrimaryKey tableName="t"/>',
    '<addLookupTable existingTableName="a" existingColumnName="b" newTableName="c"'
    ' newColumnName="d" constraintName="e"/>',
    '<addAutoIncrement tableName="t" columnName="a" columnDataType="int"/>',
    '<addDefaultValue tableName="t" columnName="a" defaultValue="1"/>',
    '<dropDefaultValue tableName="t" columnName="a"/>',
    '<addUniqueConstraint tableName="t" columnNames="a"/>',
    '<dropUniqueConstraint tableName="t" constraintName="u"/>',
    '<setTableRemarks tableName="t" remarks="r"/>',
    '<setColumnRemarks tableName="t" columnName="a" remarks="r"/>',
    f'<update tableName="t">{DATA}{WHERE}</update>',
    f'<delete tableName="t">{WHERE}</delete>',
    '<loadData tableName="t" file="a.csv"><column name="a" type="numeric"/></loadData>',
    '<loadUpdateData tableName="t" file="a.csv" primaryKey="a">'
    '<column name="a" type="numeric"/></loadUpdateData>',
    '<executeCommand executable="true"><arg value="a"/></executeCommand>',
    "<stop>why</stop>",
    "<output>what</output>",
    '<tagDatabase tag="a"/>',
]


class Schema:
    """The attributes that elements may have, of ``dbchangelog-latest.xsd``."""

    def __init__(self, text: bytes) -> None:
        root = ElementTree.fromstring(text)
        self._named = {
            (each.tag, each.get("name")): each for each in root if each.get("name") is not None
        }

    def element(self, name, within=None):
        """Return what declares an element, inside another if that declares its own."""
        for each in self._parts(within) if within is not None else ():
            if each.tag == f"{XS}element" and name in (each.get("name"), each.get("ref")):
                if each.get("name"):
                    return each
                break
        return self._named[f"{XS}element", name]

    def attributes(self, element):
        """Return the names and types of an element's attributes."""
        return {
            each.get("name"): each.get("type", "xsd:string")
            for each in self._parts(element)
            if each.tag == f"{XS}attribute"
        }

    def _parts(self, declared):
        """Yield all that a declaration contains, references followed, but no other element's."""
        named = declared.get("type")
        if named and (f"{XS}complexType", named) in self._named:
            yield from self._parts(self._named[f"{XS}complexType", named])
        for each in declared:
            yield each
            if each.tag == f"{XS}element":
                continue
            if each.tag == f"{XS}attributeGroup" and each.get("ref"):
                yield from self._parts(self._named[each.tag, each.get("ref")])
            if each.tag == f"{XS}extension":
                base = (f"{XS}complexType", each.get("base"))
                if base in self._named:
                    yield from self._parts(self._named[base])
            yield from self._parts(each)


@pytest.fixture(scope="module")
def schema():
    home = fix_liquibase.found().home
    with zipfile.ZipFile(home / "internal" / "lib" / "liquibase-core.jar") as jar:
        return Schema(jar.read(SCHEMA))


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("changelogs")
    for name in ("a.sql", "b.sql"):
        (directory / name).write_text("select 1;")
    for name in ("a.csv", "b.csv"):
        (directory / name).write_text("a\n1\n")
    return directory


@pytest.fixture(scope="module")
def definitions(directory):
    """Return the definitions of changesets; None when Liquibase refuses them."""
    found = fix_liquibase.found()
    environment = program_environment({}, found.environment)
    line = [*found.session(), f"--url={URL}", "update", "--changelog-file=c.xml"]
    session = Session(line, directory, environment)

    def of(changesets):
        root = ElementTree.Element(f"{LB}databaseChangeLog", {LOCATION: f"{NAMESPACE} {LATEST}"})
        for number, content in enumerate(changesets):
            changeset = ElementTree.SubElement(
                root, f"{LB}changeSet", {"id": str(number), "author": "me"}
            )
            changeset.append(content)
        ElementTree.register_namespace("", NAMESPACE)
        ElementTree.ElementTree(root).write(directory / "c.xml")
        try:
            changelog = session.plan(URL, Cancellation(), lambda line: None)
        except StepFailed:
            return None
        return [each.fields["definition"] for each in changelog.changesets]

    yield of
    session.close()


def parse(change):
    return ElementTree.fromstring(f'<x xmlns="{NAMESPACE}">{change}</x>')[0]


def plain(node):
    return node.tag.removeprefix(LB)


# Of no account to Liquibase: its objects keep nothing of them.
IGNORED = {
    "addForeignKeyConstraint.referencesUniqueColumn",
    "alterSequence.startValue",
    "createIndex.column.autoIncrement",
    "createIndex.column.defaultValue",
    "createIndex.column.encoding",
    "createIndex.column.incrementBy",
    "createIndex.column.remarks",
    "createIndex.column.startWith",
    "createIndex.column.type",
    "createIndex.column.value",
    "dropIndex.associatedWith",
    "dropSequence.cacheSize",
    "dropSequence.cycle",
    "dropSequence.dataType",
    "dropSequence.incrementBy",
    "dropSequence.maxValue",
    "dropSequence.minValue",
    "dropSequence.ordered",
    "dropSequence.startValue",
}
BOOLEANS, INTEGERS, RULES = ("true", "false"), ("11", "12"), ("CASCADE", "RESTRICT")
TYPES = {
    "xsd:boolean": BOOLEANS,
    "booleanExp": BOOLEANS,
    "xsd:integer": INTEGERS,
    "integerExp": INTEGERS,
}
NAMES = {
    **dict.fromkeys(
        ("cacheSize", "incrementBy", "maxValue", "minValue", "startValue", "startWith"), INTEGERS
    ),
    **dict.fromkeys(("valueBoolean", "defaultValueBoolean"), BOOLEANS),
    **dict.fromkeys(("onDelete", "onUpdate"), RULES),
    "columnParentType": ("TABLE", "VIEW"),
    "encoding": ("UTF-8", "UTF-16"),
    "path": ("a.sql", "b.sql"),
    "file": ("a.csv", "b.csv"),
}


def pairs(schema, change):
    """Yield the name of an attribute and a change with each of two values of it."""
    whole = parse(change)

    def with_each(path, alter, values):
        variants = [copy.deepcopy(whole) for _ in values]
        for variant, value in zip(variants, values, strict=True):
            target = variant
            for index in path:
                target = target[index]
            alter(target, value)
        return variants

    def walk(within, path, declared, node):
        for name, kind in schema.attributes(declared).items():
            values = NAMES.get(name) or TYPES.get(kind, ("aa", "bb"))

            def assign(target, value, name=name):
                target.set(name, value)

            yield f"{within}.{name}", with_each(path, assign, values)
        if (node.text or "").strip():
            values = ("select 11", "select 12")
            yield within, with_each(path, lambda it, value: setattr(it, "text", value), values)
        for index, child in enumerate(node):
            inner = schema.element(plain(child), declared)
            yield from walk(f"{within}.{plain(child)}", [*path, index], inner, child)

    yield from walk(plain(whole), [], schema.element(plain(whole)), whole)


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: plain(parse(each)))
def test_every_attribute_counts(schema, definitions, change):
    names, variants = zip(*pairs(schema, change), strict=True)
    both = [definitions([pair[side] for pair in variants]) for side in (0, 1)]
    if None in both:  # Liquibase refuses some, or PostgreSQL would
        alone = [[definitions([each]) for each in pair] for pair in variants]
        both = [[each[side] for each in alone] for side in (0, 1)]
    told = [
        (name, one == two)
        for name, one, two in zip(names, *both, strict=True)
        if one is not None and two is not None
    ]
    assert [name for name, same in told if same and name not in IGNORED] == []
    assert len(told) > len(names) / 3
