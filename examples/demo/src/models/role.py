from asok import Field, Model


class Role(Model):
    name = Field.String(unique=True, nullable=False)
    permissions = Field.String(default="")
