def get(request):
    return f"""<!doctype html><html lang="en"><title>Become an editor</title>
<form method="post">{request.csrf_input()}<button>Give me posts.*</button></form></html>"""


def post(request):
    if not request.user:
        return request.redirect("/auth/login?next=/become-editor")
    request.user.permissions = "posts.*"
    request.user.save()
    return request.redirect("/editors")
