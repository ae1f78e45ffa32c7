from asok_auth_core import requires


@requires("posts.edit")
def get(request):
    return f"<p>Welcome to the editors' page, {request.user.email}.</p><p><a href='/'>Back</a></p>"
