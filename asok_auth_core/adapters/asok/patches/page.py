"""The page file that Asok loads for all of our paths."""

from asok_auth_core.adapters.asok.answers import answer_page

render = answer_page
