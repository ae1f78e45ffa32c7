ROLES = ("", "editor")


def get(request):
    return request.html("page.html")


def post(request):
    if not request.user:
        return request.redirect("/auth/login?next=/become-editor")
    role = request.form.get("role", "")
    if role in ROLES:
        request.user.roles = role
        request.user.save()
    return request.redirect("/editors")
