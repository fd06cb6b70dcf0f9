# SPDX-FileCopyrightText: neOCampus data lake contributors
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.neocampus.datalake.plugins.filter.project_key import project_key
from ansible_collections.neocampus.datalake.plugins.filter.tree_hash import tree_hash


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    return tmp_path


def test_the_hash_of_a_tree_stays_the_same(tree):
    assert tree_hash(str(tree)) == tree_hash(str(tree))
    assert len(tree_hash(str(tree))) == 64


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "b.txt").write_text("c"),
        lambda tree: (tree / "b.txt").rename(tree / "c.txt"),
        lambda tree: (tree / "src" / "a.py").rename(tree / "a.py"),
        lambda tree: (tree / "new").write_text(""),
        lambda tree: (tree / "b.txt").unlink(),
    ],
)
def test_any_change_shows(tree, change):
    before = tree_hash(str(tree))
    change(tree)
    assert tree_hash(str(tree)) != before


@pytest.mark.parametrize("name", ["__pycache__", ".git", "build", "dist", "x.egg-info", "node_modules"])
def test_what_tools_leave_behind_does_not_count(tree, name):
    before = tree_hash(str(tree))
    (tree / "src" / name).mkdir()
    (tree / "src" / name / "file").write_text("x")
    assert tree_hash(str(tree)) == before


def test_exclude(tree):
    before = tree_hash(str(tree), ["*.log"])
    (tree / "src" / "x.log").write_text("x")
    assert tree_hash(str(tree), ["*.log"]) == before != tree_hash(str(tree))


def test_one_file(tree):
    before = tree_hash(str(tree / "b.txt"))
    (tree / "b.txt").write_text("c")
    assert tree_hash(str(tree / "b.txt")) != before


def test_nothing_there(tree):
    with pytest.raises(AnsibleFilterError, match="does not exist"):
        tree_hash(str(tree / "none"))


def test_a_project_is_named_by_what_it_is_made_of(tree):
    project = str(tree)
    sources = {project: [project + "/src"]}
    before = project_key(project, sources)
    assert before.startswith(tree.name + "-")
    (tree / "b.txt").write_text("changed")
    assert project_key(project, sources) == before != project_key(project)
    (tree / "src" / "a.py").write_text("changed")
    assert project_key(project, sources) != before
    with pytest.raises(AnsibleFilterError, match="does not exist"):
        project_key(project, {project: [project + "/none"]})
