from asok import Field, Model


class User(Model):
    email = Field.String(unique=True, nullable=False)
    name = Field.String()
    roles = Field.String(default="")
    is_active = Field.Boolean(default=True)
    created_at = Field.CreatedAt()
