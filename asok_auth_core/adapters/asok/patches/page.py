"""The one page file Asok loads for all of our paths."""

from asok_auth_core.adapters.asok.patches.app import answer_page

get = post = put = patch = delete = answer_page
