from asok_auth_core import requires


@requires("posts.edit")
def get(request):
    return request.html("page.html")
