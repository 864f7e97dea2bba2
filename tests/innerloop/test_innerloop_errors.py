"""Claims about the tree of errors."""

import ast
import copy
import re
from pathlib import Path

import pytest

from innerloop import errors
from innerloop.errors import ERROR_BY_CODE, ClientError, InnerloopError, ServiceError, error_of

SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(errors.__file__).parent.glob("*.py")))
CONCRETE = [pytest.param(cls, id=code) for code, cls in ERROR_BY_CODE.items()]


@pytest.mark.parametrize("cls", CONCRETE)
def test_error_says_what_it_means_and_what_to_do(cls: type[InnerloopError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", cls.code)
    assert cls.title
    assert not cls.title.endswith(".")
    assert cls.remedy.endswith(".")


@pytest.mark.parametrize("cls", CONCRETE)
def test_code_gives_its_class_back_with_everything_it_said(cls: type[InnerloopError]) -> None:
    field: errors.FieldError = {"loc": ["support", 3], "msg": "is empty"}
    error = error_of(cls.code, "what came", errors=[field], retry_after_seconds=2.0)
    assert type(error) is cls
    assert (str(error), error.detail) == ("what came", "what came")
    assert (error.errors, error.retry_after_seconds, error.request_id) == ([field], 2.0, None)


def test_unknown_code_is_a_service_error_that_keeps_it() -> None:
    error = error_of("of-a-later-release", "no more today")
    assert isinstance(error, ServiceError)
    assert (error.code, error.detail) == ("of-a-later-release", "no more today")
    assert error.title
    assert error.remedy


def test_each_concrete_error_comes_from_the_service_or_from_the_client() -> None:
    for cls in ERROR_BY_CODE.values():
        assert issubclass(cls, ServiceError) != issubclass(cls, ClientError)


def test_codes_are_unique() -> None:
    codes = re.findall(r'^    code = "(.*)"$', SOURCE, re.MULTILINE)
    assert sorted(codes) == sorted(ERROR_BY_CODE)


def test_docstring_draws_every_class() -> None:
    drawn = re.findall(r"\b[A-Z][a-z]+[A-Za-z]*\b", errors.__doc__ or "")
    defined = {node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef)} - {"FieldError"}
    assert defined <= set(drawn)
    assert set(drawn) - defined == {"Define", "Only"}


def test_package_offers_every_class() -> None:
    defined = {node.name for node in ast.parse(SOURCE).body if isinstance(node, ast.ClassDef)}
    assert set(errors.__all__) == {*defined, "ERROR_BY_CODE", "error_of"}


def test_error_survives_the_copy_that_a_process_pool_makes() -> None:
    error = errors.Overloaded("full", retry_after_seconds=3.0)
    again = copy.copy(error)  # by __reduce_ex__, as between processes
    assert type(again) is errors.Overloaded
    assert vars(again) == vars(error)
