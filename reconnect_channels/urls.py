from django.urls import path

from . import views

app_name = "reconnect_channels"
urlpatterns = [
    path("streams/<str:name>/delta", views.delta, name="delta"),
    path("metrics", views.metrics, name="metrics"),
    path("ready", views.ready, name="ready"),
]
