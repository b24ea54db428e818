from django.urls import path

from reconnect_channels.doctor.consumer import PATH, DoctorConsumer

from . import accounts, views
from .consumers import BoardConsumer

app_name = "board"
urlpatterns = [
    path("", views.board_list, name="list"),
    path("account/", accounts.switch, name="account"),
    path("boards/<slug:slug>/", views.board_page, name="page"),
    path("boards/<slug:slug>/plain/", views.plain_page, name="plain"),
    path("boards/<slug:slug>/plain/cards/", views.plain_cards, name="plain-cards"),
    path("boards/<slug:slug>/react/", views.react_page, name="react"),
    path("boards/<slug:slug>/drop/", views.drop_sockets, name="drop"),
    path("boards/<slug:slug>/somebody-else/", views.somebody_else, name="somebody-else"),
    path("api/boards/<slug:slug>/", views.board_state, name="state"),
]
websocket_urlpatterns = [
    path("ws/board/", BoardConsumer.as_asgi()),
    path(PATH, DoctorConsumer.as_asgi()),  # for reconnect_doctor --url; takes a token that SECRET_KEY signed
]
